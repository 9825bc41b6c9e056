"""Problems as clients see them (RFC 9457): their codes, documents and texts."""
