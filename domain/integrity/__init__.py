"""Checks of stored data: the log, its data keys, its archive, its log lines and its snapshots."""
