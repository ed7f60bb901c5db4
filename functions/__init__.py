"""The platform's own functions, one folder an area, and the worker process that runs them."""
