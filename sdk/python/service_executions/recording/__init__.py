"""Recording of work while it happens, without disturbing it."""
