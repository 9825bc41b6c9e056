"""All rows of the API, without a database behind them."""

from __future__ import annotations

from pathlib import Path

from api.app import operations
from api.settings import Settings
from api.system import build
from domain.eventlog.setup.log_secret import LogKeys

KEYS = LogKeys(bytes(32), bytes(32))
OPERATIONS = operations(build(Settings(data_dir=Path()), "", KEYS, "token", "log"))
