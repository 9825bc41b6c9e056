"""Log lines of days that are past: in files, and how they come there and are read from there."""
