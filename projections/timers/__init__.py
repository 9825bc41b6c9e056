"""What is due to happen by itself: retries, timeouts and automatic checkpoints of executions."""
