"""Who may see what for a while, and what the log says of those who looked."""
