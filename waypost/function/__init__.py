"""Functions as people see them: what is paused, by whom and why."""
