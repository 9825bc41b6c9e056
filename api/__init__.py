"""The API of the service: HTTP, WebSocket, streams and the command line."""

import sys

# structlog imports rich where it is installed, to draw tracebacks that are not used here. The import takes a third of
# the time of a command that shows no table, and 4 MB in every process. A module that is None cannot be imported.
if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
