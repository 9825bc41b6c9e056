"""How the files of the dashboard are served: the page at every path, and assets with caching."""

from __future__ import annotations

import gzip

import httpx
import pytest

from api.dashboard.files import FOLDER, INDEX, read_files
from tests.support.api_client import refused
from tests.support.running_server import Serving

BUILT = (FOLDER / INDEX).exists()
built = pytest.mark.skipif(not BUILT, reason="needs the built dashboard (scripts/dashboard)")
LARGEST = 80_000
"""Bytes of the first load, compressed."""


@built
@pytest.mark.parametrize("path", ["/ui/", "/ui/executions/any%2Fid", "/ui/errors?days=7"])
def test_page_is_served_at_each_of_its_paths(server: Serving, path: str) -> None:
    answered = httpx.get(server.url + path)
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    assert answered.headers["cache-control"] == "no-cache"
    policy = answered.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "<script>" not in answered.text
    assert "style=" not in answered.text


@built
def test_page_needs_no_token_and_contains_none(server: Serving) -> None:
    assert "authorization" not in httpx.get(f"{server.url}/ui/").text.lower()


@built
def test_asset_is_immutable_and_revalidated_by_its_etag(server: Serving) -> None:
    name = next(name for name in read_files() if name.endswith(".js"))
    answered = httpx.get(f"{server.url}/ui/{name}")
    assert answered.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answered.headers["content-type"].startswith("text/javascript")
    known = {"if-none-match": answered.headers["etag"]}
    assert httpx.get(f"{server.url}/ui/{name}", headers=known).status_code == 304


@built
def test_asset_is_compressed_if_the_client_accepts_it(server: Serving) -> None:
    name, file = next(each for each in read_files().items() if each[0].endswith(".js"))
    with httpx.stream("GET", f"{server.url}/ui/{name}", headers={"accept-encoding": "gzip"}) as raw:
        assert raw.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(raw.iter_raw())) == file.content
    plain = httpx.get(f"{server.url}/ui/{name}", headers={"accept-encoding": "identity"})
    assert plain.content == file.content
    assert "content-encoding" not in plain.headers


@built
def test_first_load_is_small() -> None:
    sizes = [len(file.compressed or file.content) for file in read_files().values()]
    assert sum(sizes) <= LARGEST


@built
def test_missing_asset_is_not_answered_with_the_page(server: Serving) -> None:
    refused(httpx.get(f"{server.url}/ui/assets/none.js"), 404, "not-found")


@pytest.mark.parametrize("path", ["/", "/ui"])
def test_root_path_redirects_to_the_dashboard(server: Serving, path: str) -> None:
    answered = httpx.get(server.url + path)
    assert answered.status_code == 307
    assert answered.headers["location"] == "/ui/"
