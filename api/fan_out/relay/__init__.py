"""The relay: publishes the events of a log to NATS, and answers edges what NATS does not have."""
