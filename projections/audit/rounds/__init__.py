"""The rounds of the auditor through the log: what it checks, its progress, and the faults that it has found."""
