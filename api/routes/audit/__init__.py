"""Proofs that the log is what it was, for those who do not want to trust the server."""
