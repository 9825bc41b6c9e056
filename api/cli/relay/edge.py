"""`executions serve --from-nats`: runs an edge."""

from __future__ import annotations

from importlib.util import find_spec

from api.settings import Settings, SetupError


def require_client() -> None:
    """Raises SetupError where the client of NATS is not installed."""
    if find_spec("nats") is None:
        raise SetupError("this needs the client of NATS: install executions[nats]")


def stream_name(log: str | None) -> str:
    """The default name of the stream of a log in NATS."""
    return "executions" if log is None else f"executions-{log}"


def serve_edge(settings: Settings, url: str) -> None:
    """Run an edge until a signal. The settings name NATS where `url` is empty.

    Raises:
        SetupError: the edge cannot start.
    """
    require_client()
    from api.fan_out.connection import nats_servers
    from api.fan_out.edge.service import serve_from_nats
    from api.fan_out.wire import Subjects

    urls = url or settings.nats_url or ""
    servers = nats_servers(urls, settings.nats_credentials, settings.nats_ca)
    serve_from_nats(settings, servers, Subjects(settings.nats_stream or stream_name(settings.log)))
