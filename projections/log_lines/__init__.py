"""Log lines of executions: telemetry beside the events."""
