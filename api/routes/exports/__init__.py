"""Lists to take away, as files."""
