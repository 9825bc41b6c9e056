"""Reads the access log: pages of it, its anchors and retirements, its check, and proofs of reads."""
