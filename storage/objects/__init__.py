"""Objects in S3: the store that every process uses, and the administration that only the worker does."""
