"""People, invitations and sessions in PostgreSQL. Postgres' clock decides what has expired (decision 16)."""
