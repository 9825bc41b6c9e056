"""The event log in PostgreSQL: the only package that names the table of events."""
