"""Moves old events from their table to files of the archive."""
