"""Several logs, each served by itself, that belong together."""
