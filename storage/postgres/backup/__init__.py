"""The database as a dump and back: one snapshot of every schema, and the roles, which a dump leaves out."""
