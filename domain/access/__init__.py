"""Who may come in and see what, and what the log says of those who looked."""
