"""Artifacts in the control schema: their rows, the content they share, what refers to them, what is to be swept."""
