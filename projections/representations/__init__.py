"""Public JSON: how states and events look to clients."""
