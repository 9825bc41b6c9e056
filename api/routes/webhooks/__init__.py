"""Webhooks: those of executions, those of the whole log, and what can be done to either."""
