"""Operations for the work of the engine: claims, jobs, the inbox, and their metrics."""
