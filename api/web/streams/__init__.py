"""What clients ask of streams, and how they are answered over HTTP and WebSocket."""
