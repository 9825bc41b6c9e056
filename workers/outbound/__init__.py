"""Calls to URLs that others have chosen."""
