"""The past of one stream: states, events and differences, read from the log itself."""
