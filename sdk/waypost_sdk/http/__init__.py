"""The HTTP API. Every operation is written once, as a plan without I/O, and driven by a sync or an async client."""
