"""How long what is kept stays where it is: archives of log lines, and legal holds."""
