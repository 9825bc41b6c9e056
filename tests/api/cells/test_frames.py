"""Frames are parsed from bytes that arrive in parts of any size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cells import frames
from api.cells.frames import FrameReader, LogFrame
from api.cells.remote import Away
from tests.support.examples import at_most

SENT = (
    b": heartbeat\n"
    b'event: progress\ndata: {"more":true}\n\n'
    b'id: 7\nevent: completed\ndata: {"a":"x: y"}\n\n'
    b": heartbeat\n: heartbeat\n"
    b"retry: 5000\n\n"
    b'id: 8\nevent: closing\nretry: 700\ndata: {"position":8}\n\n'
    b"id: 9\nevent: prog"
)
READ = [
    LogFrame("progress", b'{"more":true}'),
    LogFrame("completed", b'{"a":"x: y"}', 7),
    LogFrame("closing", b'{"position":8}', 8, 700),
]


@given(st.lists(st.integers(0, len(SENT)), max_size=12))
@at_most(100)
def test_frames_are_the_same_for_any_split_of_the_bytes(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SENT)]
    reader = FrameReader()
    parts = [SENT[begin:end] for begin, end in pairwise(places)]
    assert [frame for part in parts for frame in reader.read(part)] == READ


@pytest.mark.parametrize(
    "sent",
    [
        b"data: {}\n\n",
        b"event: x\ndata: [1]\n\n",
        b"id: x\nevent: x\ndata: {}\n\n",
        b"retry: x\nevent: x\ndata: {}\n\n",
        b"event: \xff\ndata: {}\n\n",
    ],
)
def test_invalid_frame_means_that_the_log_is_unavailable(sent: bytes) -> None:
    with pytest.raises(Away, match="no log does"):
        FrameReader().read(sent)


def test_frame_without_end_means_that_the_log_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "LARGEST", 100)
    reader = FrameReader()
    assert reader.read(b"data: " + b"x" * 90) == []
    with pytest.raises(Away, match="more than 100 bytes"):
        reader.read(b"x" * 90)
