"""Events of past positions leave the table for files of the archive."""
