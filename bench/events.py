"""The content of an average stored event: a payload of the average size, and the usual metadata."""

from __future__ import annotations

import json

PAYLOAD_BYTES = 240
BY = "provider:acme"
CORRELATION = "9f86d081884c7d65"  # as the server makes one where the client brings none
CUSTOMER = "customer-4711"
PROVIDER = "provider-acme"

META = json.dumps(
    {"by": BY, "correlation": CORRELATION, "customer": CUSTOMER, "provider": PROVIDER},
    separators=(",", ":"),
)
_AROUND = len(json.dumps({"state": ""}, separators=(",", ":")))
PAYLOAD = json.dumps({"state": "x" * (PAYLOAD_BYTES - _AROUND)}, separators=(",", ":"))
