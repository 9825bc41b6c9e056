"""The view of claims: the queue of executions, the leases of workers, and executions that may have stalled."""
