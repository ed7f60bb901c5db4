"""Platform jobs: rows of control.platform_job, which are queue and record in one (decision 13)."""
