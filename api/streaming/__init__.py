"""The streaming engine: one tail of the log, shared frames, subscribers that hold only a cursor."""
