"""The read model of what webhooks are owed, and how far the calls have come."""
