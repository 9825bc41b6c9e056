"""One file per resource: its operations and their handlers."""
