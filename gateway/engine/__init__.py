"""The `/api` surface: for now the token endpoint and the published signing keys (compute-node contract §3.1)."""
