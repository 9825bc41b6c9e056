"""What workers may claim, and what they hold: the queue, leases, and executions that must not be silent."""
