"""The command line: `executions`."""
