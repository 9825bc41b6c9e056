"""Operations on several logs at once."""
