"""Audit: who did what to which thing, how it ended, and the seals that prove that nothing of it was changed."""
