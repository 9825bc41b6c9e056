"""Commands about the cluster of PostgreSQL that the log is on."""
