"""Commands that talk to a service, here or elsewhere."""
