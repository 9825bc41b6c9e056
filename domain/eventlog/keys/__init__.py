"""What becomes of stored data keys: others destroy them, and a new master key wraps them again."""
