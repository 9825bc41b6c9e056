"""An edge: a server that only streams. It reads the log from NATS, and the server of the log authorizes each request."""
