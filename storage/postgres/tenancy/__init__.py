"""Organizations, projects, environments, their steps, secrets and signing keys in the control schema."""
