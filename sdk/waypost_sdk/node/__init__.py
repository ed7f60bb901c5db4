"""The node runtime: declared functions, one stream to a relay, answers that are kept until they are settled."""
