"""Operations for proofs that the log is unchanged, for clients that do not want to trust the server."""
