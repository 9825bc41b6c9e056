"""`executions demo`: a minute of believable work to look at."""
