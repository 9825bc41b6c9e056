"""How commands reach a running service: its address, its token, its streams."""
