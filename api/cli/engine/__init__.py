"""Commands that look after what happens by itself."""
