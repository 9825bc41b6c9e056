"""What is kept for how long: erasures, and what would go when."""
