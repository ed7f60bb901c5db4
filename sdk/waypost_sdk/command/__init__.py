"""The `waypost` command. Importing it loads no network library; each command imports what it needs."""
