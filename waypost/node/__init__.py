"""Compute nodes as people see them. Routing has its own view (waypost.route)."""
