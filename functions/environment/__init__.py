"""What the platform does to environments."""
