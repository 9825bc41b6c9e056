"""The log as streams: one tail per process, frames made once, connections that hold only a cursor."""
