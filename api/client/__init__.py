"""How commands reach a running service: by the SDK."""
