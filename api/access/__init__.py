"""Who may do what: rights, roles and identities."""
