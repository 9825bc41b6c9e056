"""Recording work as it happens, without getting in its way."""
