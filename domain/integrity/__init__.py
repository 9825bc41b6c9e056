"""What is stored, held against itself: the log, its keys, and what is derived from its events."""
