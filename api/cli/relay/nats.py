"""Runs the relay to NATS, and prints the edge key."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import click

from api.cli.open_log import log_of
from api.cli.relay.edge import require_client, stream_name
from api.database import keep_running
from api.embedded_postgres.data_dir import DataDir
from api.log_keys import keys_of_log, require_key_of_log, settle_name
from api.settings import SetupError, read
from api.work_task import end_when_asked

HOUR, GIB = 3_600, 2**30


class RetentionOptions(NamedTuple):
    """The retention of events in NATS, as the options name it."""

    hours: float
    gib: float
    replicas: int


def run(
    url: str | None,
    retention: RetentionOptions,
    data_dir: Path | None,
    metrics_port: int | None,
    *,
    begin_again: bool,
) -> None:
    """Relay until a signal."""
    _require_client()
    from api.fan_out.connection import nats_servers
    from api.fan_out.relay.process import RelayTask, relay_until_stopped
    from api.fan_out.stream import NatsRetention
    from api.fan_out.wire import Subjects

    end_when_asked()
    with log_of(data_dir, require_key_of_log) as (known, schema):
        settings = settle_name(read(data_dir=data_dir, nats_url=url), known.serving)
        keys = keys_of_log(known.serving, settings, DataDir(settings.data_dir))
        task = RelayTask(
            known.serving,
            schema,
            keys,
            settings.log,
            nats_servers(settings.nats_url or "", settings.nats_credentials, settings.nats_ca),
            Subjects(settings.nats_stream or stream_name(settings.log)),
            NatsRetention(retention.hours * HOUR, int(retention.gib * GIB), retention.replicas),
            begin_again,
            None if metrics_port is None else ("127.0.0.1", metrics_port),
        )
        relay_until_stopped(task, lambda: keep_running(known.postgres))


def print_key(data_dir: Path | None) -> None:
    """Print the edge key."""
    _require_client()
    from api.fan_out.keys import edge_key

    with log_of(data_dir, require_key_of_log) as (known, _):
        settings = read(data_dir=data_dir)
        keys = keys_of_log(known.serving, settings, DataDir(settings.data_dir))
        click.echo(b64encode(edge_key(keys.secret)).decode())


def _require_client() -> None:
    try:
        require_client()
    except SetupError as error:
        raise click.ClickException(str(error)) from None
