"""The URLs of webhooks: their check, their form without secrets, and their endpoint."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from domain.sealing import MASKED

TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9._~%-]{20,}")
"""A segment of a path that may be a secret, as in URLs of Slack: at least 20 characters, with letters and digits."""


def require_url(url: str) -> str:
    """Check that a URL has a host and a valid port, and return it. Raises ValueError."""
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an http or https URL with a host, and a port from 1 to 65535")
    return url


def mask(url: str) -> str:
    """The URL with `***` for its user and password, the values of its query, and segments of its path that may be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:  # stored before URLs were checked
        return MASKED
    user, at, host = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{MASKED + at if user or at else ''}{host}"
    shown += "/".join(_mask_segment(segment) for segment in parts.path.split("/"))
    if parts.query:
        shown += "?" + "&".join(_mask_pair(pair) for pair in parts.query.split("&"))
    return shown


def endpoint(url: str) -> str:
    """The scheme, host and port of a URL, without user and password; empty where the text is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def _mask_segment(segment: str) -> str:
    return MASKED if TOKEN.fullmatch(segment) else segment


def _mask_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASKED}" if equals else _mask_segment(pair)
