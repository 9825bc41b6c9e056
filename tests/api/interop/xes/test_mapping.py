"""The mapping file of an import: accepted forms, and error texts."""

import codecs
from pathlib import Path

import pytest

from api.client.ids import TAKEN
from api.interop.xes.mapping import MappingError, load_mapping
from tests.support.paths import DATA

CAKES = DATA / "orders.mapping.json"


def load(tmp_path: Path, content: bytes) -> object:
    file = tmp_path / "mapping.json"
    file.write_bytes(content)
    return load_mapping(file)


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    content = codecs.BOM_UTF8 + CAKES.read_bytes()
    assert load(tmp_path, content) == load_mapping(CAKES)


def test_outcomes_may_be_left_out(tmp_path: Path) -> None:
    content = b'{"service": {"$id": "s", "name": "S", "provider": "p"}, "customer": "c"}'
    file = tmp_path / "mapping.json"
    file.write_bytes(content)
    assert load_mapping(file).outcomes == {}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"<?xml version='1.0'?><log/>", "XML"),
        (b"<!DOCTYPE html>", "a web page (HTML)"),
        (codecs.BOM_UTF16_LE + "{}".encode("utf-16-le"), "in UTF-16: save it as UTF-8"),
        (b"\x1f\x8b\x08", "a gzip file: unpack it first"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    with pytest.raises(MappingError) as refused:
        load(tmp_path, content)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'mapping.json'}: not a mapping (JSON): it is {kind}")


def test_field_that_is_given_twice_is_named(tmp_path: Path) -> None:
    service = b'"service": {"$id": "s", "name": "S", "name": "T", "provider": "p"}'
    with pytest.raises(MappingError, match="name: is given twice"):
        load(tmp_path, b'{%b, "customer": "c"}' % service)


@pytest.mark.parametrize("identity", TAKEN)
def test_invalid_id_is_named_before_anything_is_sent(tmp_path: Path, identity: str) -> None:
    service = f'"service": {{"$id": "{identity}", "name": "S", "provider": "p"}}'
    with pytest.raises(
        MappingError, match=rf"service.\$id: must be none of .*, but is `{identity}`"
    ):
        load(tmp_path, f'{{{service}, "customer": "c"}}'.encode())
