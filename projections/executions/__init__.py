"""The read model of executions: one row each, to be listed, found and counted."""
