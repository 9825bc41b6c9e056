"""All rows of the API, without a database behind them."""

from __future__ import annotations

from pathlib import Path

from api.app import operations
from api.settings import Settings
from api.system import build

OPERATIONS = operations(build(Settings(data_dir=Path()), "", bytes(32), "token", "log"))
