"""Import of process logs: what a trace becomes, and how it reaches the service."""
