"""Platform functions on projects."""
