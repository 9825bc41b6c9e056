"""The write side: the rules of commands and events, and the event log."""
