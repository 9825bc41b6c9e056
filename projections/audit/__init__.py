"""Proofs that the log is what it was: a Merkle tree over the stored events, and signed heads of it."""
