"""Several logs in one process: each is a whole system of its own, made when it is asked for."""
