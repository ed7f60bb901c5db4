"""The embedded servers: real PostgreSQL, Valkey and SeaweedFS from wheels, on this machine alone (decision 9)."""
