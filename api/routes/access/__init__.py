"""Who was let in to what: grants, and the log of those who looked."""
