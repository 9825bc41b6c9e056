"""Calls to URLs that clients or operators have chosen."""
