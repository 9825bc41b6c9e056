"""The partitions of the access log, one for each day."""

MAKE_DAYS = "SELECT make_access_day(%s::date + ahead) FROM generate_series(0, 7) AS ahead"
"""Makes the missing partitions of a day and of the week after it."""
RETIRE_DAY = "SELECT retire_access_day(%s)"
"""Drops the partition of a day that has no entries, or whose entries were retired by an event."""
