"""Acts when something is due: a projection says what, a worker does it."""
