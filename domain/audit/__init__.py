"""What the background auditor has found, as the log says it."""
