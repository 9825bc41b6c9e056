"""Calls the webhooks of executions."""
