"""Long work on many aggregates, done by a worker: what is asked, how far it is, what came of it."""
