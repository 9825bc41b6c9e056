"""Events as they are stored on average: the size of the payload, the usual envelope."""

from __future__ import annotations

import json

PAYLOAD_BYTES = 240
BY = "provider:acme"
CORRELATION = "0197c3a2-5f0e-7d8c-9b1a-2e4f6a8c0d1e"
CUSTOMER = "customer-4711"
PROVIDER = "provider-acme"

META = json.dumps(
    {"by": BY, "correlation": CORRELATION, "customer": CUSTOMER, "provider": PROVIDER},
    separators=(",", ":"),
)
_AROUND = len(json.dumps({"state": ""}, separators=(",", ":")))
PAYLOAD = json.dumps({"state": "x" * (PAYLOAD_BYTES - _AROUND)}, separators=(",", ":"))
