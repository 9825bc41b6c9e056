"""How commands reach a running service: by the SDK; and which ids they may choose."""
