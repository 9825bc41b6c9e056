"""The options of a list besides its filter: as query parameters, or beside the filter in a body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.types import ASGIApp

from api.web import responses
from api.web.operation import Parameter
from api.web.parameters import CURSOR, LIMIT, parse_time_parameter
from api.web.reads.selection import Selection, selection
from api.web.request import Request
from domain.errors import Invalid, but_is, instead
from projections.executions import facets
from projections.executions.projection import MOST_ROWS, ExecutionPage
from projections.query.ast import Field
from projections.query.field_paths import split_list
from projections.query.pagination import DEFAULT_SORT

SORT = Parameter(
    "sort", "Fields, comma-separated, `-` for descending; `-metadata.createdAt` by default"
)
COUNT = Parameter("count", "Whether to add the exact total", {"type": "boolean"})
FIELDS = Parameter("fields", "Members to show, comma-separated, also dotted; all by default")
FACETS = Parameter(
    "facets",
    f"Fields to count executions by, comma-separated; the {facets.MOST_VALUES} most frequent values",
)
PROFILE = Parameter(
    "profile", "`array` answers a bare list, with `Link` to the next page", {"enum": ["array"]}
)
CURSORS = Parameter(
    "cursors",
    "Whether to add a cursor behind each row, as `cursors`, the values in it, as `sortValues`, and the bytes of each row, as `lengths`",
    {"type": "boolean"},
)
AT = Parameter(
    "at", "List the executions as they were at this time", {"type": "string", "format": "date-time"}
)
PARAMETERS = (SORT, LIMIT, CURSOR, COUNT, FIELDS, FACETS, PROFILE, AT, CURSORS)
BESIDE = (*(parameter.name for parameter in PARAMETERS), "expand")
"""The members that may stand beside `filter` in a body."""
BODY_SCHEMAS: Mapping[str, Any] = {
    "sort": {"type": "string"},
    "limit": LIMIT.schema,
    "cursor": {"type": "string"},
    "count": {"type": "boolean"},
    "cursors": {"type": "boolean"},
    **{
        name: {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        for name in ("fields", "facets", "expand")
    },
    "profile": PROFILE.schema,
    "at": AT.schema,
}
Facets = Mapping[str, Any]
WHOLE = re.compile(r"[0-9]{1,19}")


class ListRequest(NamedTuple):
    """The options with which a client asks for a page of a list."""

    sort: str
    limit: int
    cursor: str | None
    total: bool
    fields: Selection | None
    facets: dict[str, Field]
    bare: bool
    at: datetime | None
    expand: list[str]
    cursors: bool

    @property
    def paging(self) -> dict[str, Any]:
        """The options that select and order the rows of the page."""
        return {
            "sort": self.sort,
            "limit": self.limit,
            "cursor": self.cursor,
            "count": self.total,
        }


def list_request(request: Request, beside: Mapping[str, Any] | None = None) -> ListRequest:
    """Parse the options of a list, from the query and from the members `beside` the filter in a body.

    Raises:
        Invalid: an option is not valid, or is in both.
    """
    options = _Options(request, beside or {})
    at = options.text("at")
    asked = ListRequest(
        sort=options.text("sort") or DEFAULT_SORT,
        limit=options.integer("limit", 1, MOST_ROWS) or 50,
        cursor=options.text("cursor"),
        total=options.boolean("count"),
        fields=selection(options.words_of("fields")),
        facets=facets.parse_fields(options.words_of("facets")),
        bare=options.one_of("profile", "array") is not None,
        at=None if at is None else parse_time_parameter("at", at),
        expand=options.words_of("expand"),
        cursors=options.boolean("cursors"),
    )
    if asked.facets and asked.at is not None:
        raise Invalid.field("facets", "count what is there now: leave out `at`, or `facets`")
    if asked.cursors and (asked.at is not None or asked.bare):
        raise Invalid.field("cursors", "are of the list as it is now: leave out `at` and `profile`")
    if asked.facets and asked.bare:
        raise Invalid.field("facets", "have no place in a bare list: leave out `profile`")
    return asked


def words_of(request: Request, name: str) -> list[str]:
    """The comma-separated words of a query parameter; empty where the parameter is missing.

    Raises:
        Invalid: the parameter is empty.
    """
    return _Options(request, {}).words_of(name)


def filter_of(body: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """The filter in a body, the path of the filter in the body, and the members beside it.

    Raises:
        Invalid: fields of the filter and options are mixed, or an unknown member is beside the filter.
    """
    paging = {name: body[name] for name in BESIDE if name in body}
    if "filter" not in body and not paging:
        return body, "", {}
    others = [name for name in body if name != "filter" and name not in paging]
    if others and "filter" not in body:
        example = f'{{"filter": {{…}}, "{next(iter(paging))}": …}}'
        raise Invalid.field(next(iter(paging)), f"stands beside the filter, as in {example}")
    if others:
        known = ", ".join(BESIDE)
        raise Invalid.field(others[0], f"is not known beside `filter` (known: {known})")
    return body.get("filter", {}), "filter" if "filter" in body else "", paging


def page_answer(
    request: Request,
    asked: ListRequest,
    found: ExecutionPage,
    items: list[bytes],
    counts: Facets | None,
) -> ASGIApp:
    """The response with a page, or with a bare list and its paging in the headers."""
    headers = {"log-position": str(found.position)}
    if not asked.bare:
        more = (
            {"cursors": found.cursors, "sortValues": found.sort_values} if asked.cursors else None
        )
        shown = found.next_cursor, found.total, counts, more
        return responses.json(responses.page(items, *shown, lengths=asked.cursors), headers)
    if found.next_cursor is not None:
        headers |= {
            "link": _link_to_next(request, found.next_cursor),
            "next-cursor": found.next_cursor,
        }
    if found.total is not None:
        headers["total-count"] = str(found.total)
    return responses.json(b"[%b]" % b",".join(items), headers)


def _link_to_next(request: Request, cursor: str) -> str:
    """The value of `Link` that names the URL of the next page (RFC 8288)."""
    query = [(name, value) for name, value in request.query if name != "cursor"]
    return f'<{request.url}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'


class _Options:
    """Reads each option from the query or from the body."""

    def __init__(self, request: Request, beside: Mapping[str, Any]) -> None:
        self._request = request
        self._beside = beside

    def text(self, name: str) -> str | None:
        found = self._find(name)
        if found is not None and not isinstance(found, str):
            raise Invalid.field(name, f"must be text{instead(found)}")
        return found

    def boolean(self, name: str) -> bool:
        found = self._find(name)
        if found not in (None, "true", "false") and not isinstance(found, bool):
            raise Invalid.field(name, f"must be true or false{but_is(found)}")
        return found in ("true", True)

    def integer(self, name: str, at_least: int, at_most: int) -> int | None:
        found = self._find(name)
        if isinstance(found, str) and WHOLE.fullmatch(found) and name not in self._beside:
            found = int(found)
        if found is None:
            return None
        if type(found) is not int or not at_least <= found <= at_most:
            bounds = f"must be a whole number from {at_least} to {at_most}"
            raise Invalid.field(name, f"{bounds}{but_is(found)}")
        return found

    def words_of(self, name: str) -> list[str]:
        found = self._find(name)
        if isinstance(found, str):
            if not (parts := [part for part in split_list(found) if part]):
                raise Invalid.field(name, "must name something, or be left out")
            return parts
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
            raise Invalid.field(
                name, f"must be a list of texts, or comma-separated{instead(found)}"
            )
        return found

    def one_of(self, name: str, *allowed: str) -> str | None:
        found = self.text(name)
        if found is not None and found not in allowed:
            raise Invalid.field(name, f"must be {' or '.join(allowed)}{but_is(found)}")
        return found

    def _find(self, name: str) -> Any:
        in_query = self._request.parameter(name)
        if in_query is not None and name in self._beside:
            raise Invalid.field(name, "stands in the query and in the body: leave out one")
        return self._beside.get(name) if in_query is None else in_query
