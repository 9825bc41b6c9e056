"""What reads have in common: lists, the state of an execution, and how far the data goes."""
