"""Subscriptions: which events go to which URL, and how a delivery is made."""
