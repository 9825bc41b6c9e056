"""All rows of the API, without a database behind them."""

from __future__ import annotations

from pathlib import Path

from api.app import build, operations
from api.settings import Settings

OPERATIONS = operations(build(Settings(data_dir=Path()), "", bytes(32), "token", "log"))
