"""Commands about several logs."""
