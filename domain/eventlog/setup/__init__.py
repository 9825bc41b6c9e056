"""The setup of a log: its database, roles, id, name, secret, and the partitions of log lines."""
