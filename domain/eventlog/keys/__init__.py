"""Changes of stored data keys: they are made, destroyed by erasures, and wrapped again by a new master key."""
