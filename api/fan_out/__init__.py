"""Streams through NATS: a relay publishes the log there once, and any number of edges send it to their clients."""
