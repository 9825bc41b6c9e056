"""Values of query parameters that cannot match anything are refused with the name of the parameter."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import Executions, ok, refused


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/jobs?status=zz", "status"),
        ("/jobs?command=zz", "command"),
        ("/holds?status=zz", "status"),
        ("/orders?status=zz", "status"),
        ("/orders?priority=zz", "priority"),
        ("/users?kind=zz", "kind"),
        ("/services?provider=", "provider"),
        ("/holds?executions=", "executions"),
        ("/executions?fields=", "fields"),
        ("/executions?facets=,", "facets"),
        ("/inbox?assignee=", "assignee"),
    ],
)
def test_impossible_value_is_refused_with_the_name_of_its_parameter(
    api: httpx.Client, path: str, name: str
) -> None:
    problem = refused(api.get(path), 422, "invalid")
    assert problem["errors"][0]["path"] == name


@pytest.mark.parametrize("name", ["level", "step"])
def test_empty_filter_of_log_lines_is_refused(
    api: httpx.Client, executions: Executions, name: str
) -> None:
    path = f"/executions/{executions.create()['$id']}/logs?{name}="
    assert refused(api.get(path), 422, "invalid")["errors"][0]["path"] == name


def test_lists_show_the_values_of_their_filters(api: httpx.Client) -> None:
    listed = ok(api.get("/holds?status=active"))
    assert isinstance(listed["data"], list)
    paths = ok(api.get(f"{str(api.base_url).removesuffix('/').removesuffix('/api')}/openapi.json"))
    [jobs] = [path for name, path in paths["paths"].items() if name.endswith("/jobs")]
    [status] = [each for each in jobs["get"]["parameters"] if each.get("name") == "status"]
    assert status["schema"]["enum"] == ["running", "completed", "cancelled", "failed"]
