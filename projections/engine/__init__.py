"""Runs projections: follows the log, rebuilds tables, verifies rows."""
