"""Files of the archive, and the events of past positions that are in them."""
