"""Counts, rates, durations and cost of executions."""
