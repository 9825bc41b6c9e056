"""The partitions of the access log, one for each day."""

MAKE_DAYS = "SELECT make_access_day(%s::date + ahead) FROM generate_series(0, 7) AS ahead"
"""Those of a day and of the week after it, as far as they are missing."""
RETIRE_DAY = "SELECT retire_access_day(%s)"
"""Drops a day, where the log of events says that its entries were retired, or where it has none."""
