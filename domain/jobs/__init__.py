"""Jobs: commands for many aggregates, carried out by a worker, with their progress and result."""
