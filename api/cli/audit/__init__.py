"""`executions audit`: proofs that the log is what it was."""
