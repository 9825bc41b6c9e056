"""A server that only streams, from NATS."""

from __future__ import annotations

from importlib.util import find_spec

from api.settings import Settings, SetupError


def require_client() -> None:
    """Raises SetupError where the client of NATS is not installed."""
    if find_spec("nats") is None:
        raise SetupError("this needs the client of NATS: install executions[nats]")


def stream_name(log: str | None) -> str:
    """How the stream of a log is called in NATS, unless a setting says otherwise."""
    return "executions" if log is None else f"executions-{log}"


def serve_edge(settings: Settings, url: str) -> None:
    """Send streams until a signal ends it. An empty URL leaves it to the settings.

    Raises:
        SetupError: it cannot start.
    """
    require_client()
    from api.fan_out.connection import nats_servers
    from api.fan_out.edge.service import serve_from_nats
    from api.fan_out.wire import Subjects

    where = url or settings.nats_url or ""
    servers = nats_servers(where, settings.nats_credentials, settings.nats_ca)
    serve_from_nats(settings, servers, Subjects(settings.nats_stream or stream_name(settings.log)))
