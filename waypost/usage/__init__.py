"""What is counted: meters, usage events, and their sums by hour and day."""
