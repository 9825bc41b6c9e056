"""Gives queued executions to the workers that wait for one."""
