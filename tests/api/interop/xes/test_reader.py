"""The reader of XES logs: traces and events, and refusals with line and reason."""

import gzip
import io
import tracemalloc
from datetime import UTC, datetime

import pytest

from api.interop.xes import reader
from api.interop.xes.reader import XesError, XesLog, XesTrace
from tests.support.paths import DATA

ORDERS = DATA / "orders.xes"
TIME = '<date key="time:timestamp" value="2024-03-01T08:00:00Z"/>'
NAME = '<string key="concept:name" value="x"/>'
EVENT = f"<event>{NAME}{TIME}</event>"
NESTED = "<string key='k' value='v'>"


def read(content: bytes | str) -> tuple[XesLog, list[XesTrace]]:
    log = XesLog(io.BytesIO(content.encode() if isinstance(content, str) else content))
    return log, list(log)


def log_of(inner: str) -> str:
    return f"<?xml version='1.0'?>\n<log>\n{inner}\n</log>"


def trace_of(inner: str) -> str:
    return log_of(f"<trace>{NAME}\n{inner}\n</trace>")


def test_log_has_its_own_name_and_not_that_of_a_global() -> None:
    log, _ = read(ORDERS.read_bytes())
    assert log.name == "Cakes to order"


def test_traces_and_events_are_in_the_order_of_the_file() -> None:
    _, traces = read(ORDERS.read_bytes())
    assert [trace.name for trace in traces] == ["cake-1", "cake 2", "cake-3", "cake-4", "cake-5"]
    assert [event.activity for event in traces[2].events] == ["Order", "Call off", "Bake"]
    assert (traces[0].line, traces[0].events[0].line) == (17, 26)


def test_last_trace_is_read_whole_where_a_long_value_ends_in_the_last_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A parser may put off an element that fills a chunk until the next one (expat from 2.6 on)."""
    monkeypatch.setattr(reader, "CHUNK", 1_000)
    long = f'<string key="concept:name" value="{"x" * 1_900}"/>'
    content = log_of(f"<trace>{NAME}</trace><trace>{long}</trace>")
    _, traces = read(content[:-1] + " " * (-len(content) % 1_000) + ">")
    assert [len(trace.name) for trace in traces] == [1, 1_900]


def test_attributes_have_the_type_of_their_element() -> None:
    _, traces = read(ORDERS.read_bytes())
    assert traces[0].attributes == {
        "concept:name": "cake-1",
        "tiers": 3,
        "weight": 2.5,
        "gluten": False,
        "ordered": datetime(2024, 3, 1, 7, tzinfo=UTC),
        "ticket": "7f1b2c1e-4b0a-4f7e-9d0e-0d3a5f6b7c8d",
        "version": "second",
    }


def test_globals_and_nested_attributes_are_not_values_of_an_event() -> None:
    _, traces = read(ORDERS.read_bytes())
    assert traces[0].events[0].attributes.keys() == {"concept:name", "time:timestamp", "channel"}


def test_gzip_file_is_recognised_by_its_first_bytes() -> None:
    assert read(gzip.compress(ORDERS.read_bytes()))[1] == read(ORDERS.read_bytes())[1]


def test_gzip_file_may_have_several_members() -> None:
    content = ORDERS.read_bytes()
    assert len(read(gzip.compress(content[:500]) + gzip.compress(content[500:]))[1]) == 5


def test_elements_may_be_prefixed() -> None:
    log, traces = read(
        "<xes:log xmlns:xes='http://www.xes-standard.org/'><xes:trace>"
        "<xes:string key='concept:name' value='a'/></xes:trace></xes:log>"
    )
    assert (log.name, [trace.name for trace in traces]) == (None, ["a"])


def test_encoding_is_that_of_the_declaration() -> None:
    text = "<?xml version='1.0' encoding='ISO-8859-1'?><log><string key='concept:name' value='é'/></log>"
    assert read(text.encode("latin-1"))[0].name == "é"


def test_name_may_be_written_as_a_number() -> None:
    _, traces = read(log_of("<trace><int key='concept:name' value='17'/></trace>"))
    assert traces[0].name == "17"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2024-03-01T08:00:00", datetime(2024, 3, 1, 8, tzinfo=UTC)),
        ("date", "2024-03-01T08:00:00.5+02:00", datetime(2024, 3, 1, 6, 0, 0, 500_000, UTC)),
        ("date", "2024-03-01T08:00:00.123456789Z", datetime(2024, 3, 1, 8, 0, 0, 123_456, UTC)),
        ("int", "-9223372036854775808", -(1 << 63)),
        ("float", "1e3", 1000.0),
        ("float", "-INF", float("-inf")),
        ("boolean", "1", True),
        ("date", " 2024-03-01T08:00:00Z\n", datetime(2024, 3, 1, 8, tzinfo=UTC)),
        ("int", "\t17 ", 17),
        ("float", " 1.5 ", 1.5),
        ("boolean", " true ", True),
        ("string", " kept ", " kept "),
        ("date", "2024-02-28T24:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("date", "2023-12-31T24:00:00.000+02:00", datetime(2023, 12, 31, 22, tzinfo=UTC)),
        ("date", "2024-03-01T08:00:00-14:00", datetime(2024, 3, 1, 22, tzinfo=UTC)),
        ("float", "Infinity", float("inf")),
        ("float", "-infinity", float("-inf")),
    ],
)
def test_values_are_parsed_in_the_forms_of_the_standard(
    kind: str, text: str, value: object
) -> None:
    _, traces = read(log_of(f"<trace>{NAME}<{kind} key='k' value='{text}'/></trace>"))
    assert traces[0].attributes["k"] == value


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "not an XES log: it is an empty file"),
        ("<?xml version='1.0'?>", 1, "malformed XML: no element found"),
        ("PK\x03\x04", 1, "not an XES log: it is a zip archive: unpack it first"),
        ('{"log": []}', 1, "not an XES log: it is JSON"),
        ("case,activity,time\n1,a,2", 1, "not an XES log: it is plain text"),
        ("<!DOCTYPE html><html><p>", 1, "not an XES log: it is a web page (HTML)"),
        ("\ufeff\n<HTML lang='en'>", 1, "not an XES log: it is a web page (HTML)"),
        ("<!-- saved --><!doctype html>", 1, "malformed XML"),
        ("<!-- saved -->\n<!DOCTYPE html>", 2, "not an XES log: it is a web page (HTML)"),
        ("<?xml version='1.0'?>\n<html/>", 2, "not an XES log: it is a web page (HTML)"),
        ("<log>\n<trace>\n</log>", 3, "malformed XML: mismatched tag"),
        ("<log>\n<trace>", 2, "malformed XML: no element found"),
        ("<log/><log/>", 1, "malformed XML: junk after document element"),
        (
            "<?xml version='1.0' encoding='klingon'?><log/>",
            1,
            "unreadable encoding: unknown encoding: klingon",
        ),
        ("<pnml/>", 1, "not an XES log: the root element is <pnml>"),
        ("<!DOCTYPE log [<!ENTITY a 'b'>]><log/>", 1, "DOCTYPE"),
        ("<!DOCTYPE log SYSTEM 'http://localhost/log.dtd'><log/>", 1, "DOCTYPE"),
        (log_of("<trace/>"), 3, "a trace without concept:name"),
        (log_of(f"<trace>{NAME}</trace>\n<trace>{NAME}</trace>"), 4, 'a second trace named "x"'),
        (log_of(EVENT), 3, "<event> is out of place"),
        (log_of("<trace><trace/></trace>"), 3, "<trace> is out of place"),
        (log_of("<Trace/>"), 3, "<Trace> is out of place"),
        (trace_of(f"<event>{TIME}</event>"), 4, "an event without concept:name"),
        (trace_of(f"<event>{NAME}</event>"), 4, "an event without time:timestamp"),
        (trace_of("<int key='k'/>"), 4, "<int> without value"),
        (trace_of("<int value='1'/>"), 4, "<int> without key"),
        (trace_of(NAME), 4, 'the attribute "concept:name" is there twice'),
        (trace_of(f"<event>{NAME}{TIME.replace('date', 'string')}</event>"), 4, "not a <date>"),
        (trace_of(NESTED * 200 + "</string>" * 200), 4, "nested deeper than"),
    ],
)
def test_malformed_file_is_refused_with_line_and_reason(
    content: str, line: int, reason: str
) -> None:
    with pytest.raises(XesError) as refused:
        read(content)
    assert (refused.value.line, reason in refused.value.reason) == (line, True), refused.value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("date", "yesterday"),
        ("date", "2024-03-01"),
        ("date", "2024-13-01T08:00:00Z"),
        ("date", "0001-01-01T00:00:00+14:00"),
        ("int", "1.0"),
        ("int", "1_000"),
        ("int", "9223372036854775808"),
        ("float", "1,5"),
        ("float", "1 5"),
        ("boolean", "yes"),
        ("boolean", ""),
        ("date", "2024-03-01T24:00:01Z"),
        ("date", "2024-03-01T08:00:00+14:01"),
        ("date", "2024-03-01T08:00:00+00:60"),
        ("date", "9999-12-31T24:00:00Z"),
        ("date", "2024-03- 01T08:00:00Z"),
    ],
)
def test_value_that_is_not_of_its_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(XesError) as refused:
        read(trace_of(f"<{kind} key='k' value='{text}'/>"))
    assert str(refused.value) == f'line 4: "k": not a valid {kind}: "{text}"'


@pytest.mark.parametrize("text", ["NaN", "nan", " NaN "])
def test_nan_is_left_out_and_counted(text: str) -> None:
    log, traces = read(log_of(f"<trace>{NAME}<float key='k' value='{text}'/></trace>"))
    assert traces[0].attributes == {"concept:name": "x"}
    assert log.nan_values == 1


def test_web_page_in_a_gzip_file_is_recognised() -> None:
    with pytest.raises(XesError, match=r"line 1: not an XES log: it is a web page \(HTML\)"):
        read(gzip.compress(b"<html>"))


def test_truncated_gzip_file_is_refused() -> None:
    with pytest.raises(XesError, match="line 1: the gzip file is truncated"):
        read(gzip.compress(ORDERS.read_bytes())[:-20])


def test_damaged_gzip_file_is_refused() -> None:
    content = bytearray(gzip.compress(ORDERS.read_bytes()))
    content[-8:-4] = b"\0\0\0\0"
    with pytest.raises(XesError, match="the gzip file is damaged: CRC"):
        read(bytes(content))


def test_tag_without_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "LONGEST_TAG", 1 << 18)
    with pytest.raises(XesError, match="a single tag or text is longer than 262144 bytes"):
        read(log_of(f"<string key='{'k' * (1 << 20)}' value='v'/>"))


def read_with(monkeypatch: pytest.MonkeyPatch, limit: str, size: int, inner: str) -> str:
    """The refusal of a log with a trace over a limit; the rest of the file is not read."""
    monkeypatch.setattr(reader, limit, size)
    endless = io.BytesIO(f"<log>\n{inner}{EVENT * 20_000}".encode())
    with pytest.raises(XesError) as refused:
        list(XesLog(endless))
    assert endless.tell() == reader.CHUNK
    return str(refused.value)


def test_trace_with_too_many_events_is_refused_with_its_name_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = read_with(monkeypatch, "MOST_EVENTS", 3, f"<trace>{NAME}\n{EVENT * 3}\n")
    assert said == 'line 4: with this event the trace "x" has more than 3 events'
    three = trace_of(EVENT * 3)
    assert len(read(three)[1][0].events) == 3


def test_trace_that_is_too_long_is_refused_with_its_name_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = "<string key='k' value='v'/>"
    said = read_with(monkeypatch, "LARGEST_TRACE", 300, f"<trace>{value}\n")
    assert said == "line 3: the trace of line 2 is longer than 300 bytes"
    monkeypatch.setattr(reader, "LARGEST_TRACE", 1 << 16)
    values = "".join(f"<int key='{n}' value='1'/>" for n in range(10_000))
    with pytest.raises(XesError, match='line 3: the trace "x" is longer than 65536 bytes'):
        read(log_of(f"<trace>{NAME}{values}</trace>"))


def test_long_text_of_the_file_is_shortened_in_messages() -> None:
    with pytest.raises(XesError) as refused:
        read(log_of(f"<trace><string key='{'k' * 300}'/><{'t' * 300}/></trace>"))
    assert len(str(refused.value)) < 200
    name = NAME.replace("x", "n" * 300)
    with pytest.raises(XesError) as refused:
        read(log_of(f"<trace>{name}</trace><trace>{name}</trace>"))
    assert str(refused.value) == f'line 3: a second trace named "{"n" * 80}…"'


def test_memory_does_not_grow_with_the_log() -> None:
    trace = "<trace><string key='concept:name' value='{}'/>" + EVENT * 50 + "</trace>"
    content = gzip.compress(log_of("".join(map(trace.format, range(300)))).encode())
    tracemalloc.start()
    try:
        assert sum(len(trace.events) for trace in XesLog(io.BytesIO(content))) == 15_000
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
