"""What is asked of several logs at once."""
