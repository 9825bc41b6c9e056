"""Streams through NATS: a relay publishes the log once, and any number of edges send it to their clients."""
