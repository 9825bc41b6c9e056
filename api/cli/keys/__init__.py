"""`executions keys`: the keys of a log."""
