"""Subscriptions, their deliveries, and the queue of what is to be sent."""
