"""What admission asks of browsers, and what ends with a credential."""
