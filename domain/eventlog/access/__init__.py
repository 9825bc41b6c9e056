"""The access log: who read what of executions, as a hash chain in which any change can be detected."""
