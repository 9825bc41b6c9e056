"""The faults that the background auditor has found, as events of the log."""
