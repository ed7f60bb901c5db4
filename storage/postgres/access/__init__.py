"""API keys and node credentials in the control schema. Only hashes are kept."""
