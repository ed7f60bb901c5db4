"""Credentials, roles and permissions: who may do what. One place decides."""
