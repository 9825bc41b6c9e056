"""Finds what is slow, large, late or damaged in a log and its projections, and advises what to do about it."""
