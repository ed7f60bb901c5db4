"""Artifacts: stored evidence, its content kept once, checked and described by ingest."""
