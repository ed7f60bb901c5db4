"""What a job is and what may happen to it. The machinery that moves jobs is the top-level package `jobs`."""
