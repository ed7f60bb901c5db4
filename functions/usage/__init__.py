"""Platform functions of usage."""
