"""Proofs that the log is what it was, for whoever does not want to trust the server."""
