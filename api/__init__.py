"""Talks: HTTP, WebSocket, streams and the command line."""

import sys

# structlog imports rich wherever it is installed, to draw tracebacks that nothing here prints: a third of the time of a
# command that shows no table, and 4 MB in every process. What is None among the modules cannot be imported.
if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
