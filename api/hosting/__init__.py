"""Several logs in one process. Each hosted log is a complete system, which is made when it is needed."""
