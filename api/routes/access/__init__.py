"""Who may come in, and what they were let in to: API keys, grants, and the log of those who looked."""
