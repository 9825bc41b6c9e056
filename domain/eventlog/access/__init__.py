"""The access log: who read what of executions, in a chain that shows what was changed."""
