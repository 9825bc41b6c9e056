"""A log moves to another database while it is served."""
