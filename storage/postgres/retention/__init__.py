"""What goes of one environment when its time is over, in bounded bites (decision 20)."""
