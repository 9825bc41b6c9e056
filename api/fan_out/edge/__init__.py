"""An edge: a server that only streams. It reads the log from NATS, and has a server of the log judge each request."""
