"""What is said of an archive that cannot be reached."""

from __future__ import annotations

import pytest

from domain.eventlog.archive.files import first_line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It is full\n\nSee also https://example.com", "It is full"),
        (
            "Error performing PUT https://a.example/c/f?sv=1&sig=s3cret in 2ms - 403",
            "Error performing PUT https://a.example/c/f in 2ms - 403",
        ),
        ("", "OSError"),
    ],
)
def test_error_is_one_line_without_the_signature_of_its_url(said: str, shown: str) -> None:
    assert first_line(OSError(said)) == shown
