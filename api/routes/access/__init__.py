"""Operations for API keys, sessions and grants, and for the access log of reads."""
