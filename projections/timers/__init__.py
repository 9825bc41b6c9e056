"""The view of timers: when the retries, timeouts and automatic checkpoints of executions are due."""
