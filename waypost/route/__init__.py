"""Selectors, tags and routes: which nodes may run what, decided explicitly and deterministically."""
