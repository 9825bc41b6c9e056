"""The log lines of executions: telemetry that is stored beside the events."""
