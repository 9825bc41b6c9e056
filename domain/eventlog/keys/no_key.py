"""The master key of those who open nothing."""

from __future__ import annotations

from domain.eventlog.encryption import KEY_BYTES, Vault

NO_KEY = Vault(bytes(KEY_BYTES))
"""For those who keep what is sealed as it is: no data key is ever asked for."""
