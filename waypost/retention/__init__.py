"""How long an environment's things are kept (decision 20)."""
