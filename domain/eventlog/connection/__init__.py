"""How the log reaches its database, and what it does when it does not."""
