"""A private PostgreSQL that the service runs by itself."""
