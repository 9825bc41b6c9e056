"""What is slow, large, late or damaged in a log and its projections, and what to do about it."""
