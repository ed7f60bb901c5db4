"""An environment's own schema: its migrations, and the snapshot that new ones are made from."""
