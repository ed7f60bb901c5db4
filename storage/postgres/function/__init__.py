"""Pauses of functions: rows of control.function_pause."""
