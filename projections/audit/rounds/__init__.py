"""What the auditor in the background looks at, how far it is in its round, and what it still finds."""
