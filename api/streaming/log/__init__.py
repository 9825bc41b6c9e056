"""What the engine reads of the log: pages, single streams, states, and what comes next."""
