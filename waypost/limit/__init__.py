"""What an organization and its environments may use: the limits, their defaults, and which of several values counts."""
