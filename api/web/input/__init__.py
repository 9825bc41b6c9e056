"""What clients send in bodies: JSON, NDJSON, commands and their members."""
