"""Organizations, projects and environments: the tenancy tree."""
