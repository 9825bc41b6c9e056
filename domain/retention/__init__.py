"""Retention: archived log lines, archived events, and legal holds."""
