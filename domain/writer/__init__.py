"""The write path: commands are queued, decided in batches and committed together."""
