"""Calls webhooks: those of executions, and those of the whole log."""
