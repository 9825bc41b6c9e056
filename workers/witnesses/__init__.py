"""Shows signed heads to others, who keep them: then nobody here can take one back."""
