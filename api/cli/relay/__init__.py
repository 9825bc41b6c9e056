"""Commands for streams through NATS."""
