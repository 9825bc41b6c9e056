"""API keys, sessions and grants, and the events about the access log."""
