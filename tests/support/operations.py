"""All operations of the API, without a database.

`python -m tests.support.operations` prints their OpenAPI document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from api.app import operations
from api.documents.openapi import document
from api.settings import Settings
from api.system import build
from domain.eventlog.setup.log_secret import LogKeys

KEYS = LogKeys(bytes(32), bytes(32))
OPERATIONS = operations(build(Settings(data_dir=Path()), "", KEYS, "token", "log"))

if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(OPERATIONS)))
