"""What the door asks of browsers, and what ends with a credential."""
