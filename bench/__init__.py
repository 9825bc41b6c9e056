"""Measures each hot path beside its limit, in the same run: `scripts/bench --help`."""
