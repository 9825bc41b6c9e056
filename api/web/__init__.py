"""The edge of HTTP and WebSocket: operations, requests, admission, bodies, answers."""
