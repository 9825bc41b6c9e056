"""What the service does by itself, asked for and watched."""
