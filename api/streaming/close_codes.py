"""The codes by which streams end: close codes of WebSocket (RFC 6455, section 7.4, and a private one).

The guide to streams says what a client does after each of them.
"""

from __future__ import annotations

DONE = 1000
"""The execution of the stream has ended."""
REFUSED = 1008
"""The client sent something that is no message of the protocol."""
FAULT = 1011
"""A fault of the server in this stream, or the log has become another one."""
RESTART = 1012
"""The server stops, or looks again at what the client may see."""
SLOW = 1013
"""The client has read nothing for too long."""
LOCKED_OUT = 4401
"""The credential of the client has ended."""
