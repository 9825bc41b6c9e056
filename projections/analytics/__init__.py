"""The view of analytics: counts, rates, durations and costs of executions and steps."""
