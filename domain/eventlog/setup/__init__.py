"""What is set up around a log: who may do what in the database, and which log it is."""
