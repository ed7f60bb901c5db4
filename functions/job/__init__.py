"""Platform functions about jobs."""
