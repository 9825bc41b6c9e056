"""The asynchronous half: written by hand, and the source of the other one."""
