"""A missing or invalid setting of an edge is reported in one line, before it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.relay.edge import serve_edge, stream_name
from api.fan_out.connection import nats_servers
from api.settings import Settings, SetupError

WHERE = "nats://127.0.0.1:4222"
SERVER, KEY = "https://executions.example", "a2V5IG9mIGVkZ2Vz"


@pytest.mark.parametrize(
    ("url", "given", "said"),
    [
        (WHERE, {}, "EXECUTIONS_SERVER_URL"),
        (WHERE, {"server_url": SERVER}, "EXECUTIONS_EDGE_KEY"),
        (WHERE, {"server_url": SERVER, "edge_key": KEY}, "`executions relay key` prints"),
        ("", {}, "the address of NATS is missing"),
        ("http://nats.example", {}, "must be like nats://host:4222"),
        (WHERE, {"nats_ca": Path("/no/such.pem")}, "there is no file /no/such.pem"),
    ],
)
def test_edge_with_a_missing_or_invalid_setting_names_it(
    tmp_path: Path, url: str, given: dict[str, object], said: str
) -> None:
    settings = Settings(data_dir=tmp_path, port=0, **given)  # type: ignore[arg-type]  # of several types
    with pytest.raises(SetupError) as refusal:
        serve_edge(settings, url)
    assert said in str(refusal.value)
    assert KEY not in str(refusal.value)


def test_addresses_are_shown_without_passwords() -> None:
    servers = nats_servers("nats://relay:secret@one.example:4333, tls://two.example")
    assert servers.shown == "one.example:4333, two.example:4222"
    assert "secret" not in repr(servers)


@pytest.mark.parametrize(("log", "stream"), [(None, "executions"), ("north", "executions-north")])
def test_stream_of_nats_has_the_name_of_the_log(log: str | None, stream: str) -> None:
    assert stream_name(log) == stream
