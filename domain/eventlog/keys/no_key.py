"""A master key for programs that open no sealed content."""

from __future__ import annotations

from domain.eventlog.encryption import KEY_BYTES, Vault

NO_KEY = Vault(bytes(KEY_BYTES))
"""The vault of programs that leave sealed content sealed: they never use a data key."""
