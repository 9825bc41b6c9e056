"""Validation of the URL of a webhook."""

from __future__ import annotations

import pytest

from domain.execution.webhook_url import require_url


@pytest.mark.parametrize(
    "url", ["https:///hook", "https://example.com:0/hook", "https://[::1/hook"]
)
def test_url_without_a_host_or_with_an_invalid_port_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="with a host, and a port from 1 to 65535"):
        require_url(url)


def test_url_with_a_host_is_accepted_with_and_without_a_port() -> None:
    for url in ("https://example.com/hook", "https://example.com:8443/hook"):
        assert require_url(url) == url
