"""Workers: background tasks that do what is due, as the tables of projections show it."""
