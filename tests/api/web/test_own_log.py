"""A server that answers for several logs queries its own log without a network connection."""

from __future__ import annotations

import anyio
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.web.own_log import OwnLog
from tests.support.api_client import ok, refused
from tests.support.ports import free_port
from tests.support.running_server import serving

pytestmark = pytest.mark.anyio


async def test_server_queries_its_own_log_whatever_address_the_map_has_for_it(
    database: str,
) -> None:
    nowhere = f"north=http://127.0.0.1:{free_port()}"
    with serving(database, log_name="north", cells=nowhere) as server, server.client() as client:
        ok(client.post("/users", json={"$id": "acme", "name": "Acme", "kind": "organization"}))
        ok(client.get("/executions", params={"minPosition": 1}))
        found = ok(client.get("/cells/executions"))
        problem = refused(
            client.get("/cells/executions", params={"sort": "colour"}), 422, "invalid"
        )
        stranger = client.get("/cells/executions", headers={"Authorization": "Bearer x"})
    assert (found["data"], found["cells"]["north"]["position"] > 0) == ([], True)
    assert (problem["errors"][0]["path"], stranger.status_code) == ("sort", 401)


async def test_application_gets_a_request_as_of_a_client() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        with anyio.move_on_after(0.01) as waited:
            await receive()
        shown = {
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            **{name.decode(): value.decode() for name, value in scope["headers"]},
            "more": first["more_body"],
            "stays": waited.cancelled_caught,
        }
        await JSONResponse(shown, 202, {"Log-Position": "7"})(scope, receive, send)

    found = await OwnLog(app).get("/api/x", [("a", "é&"), ("b", 1)], {"x-purpose": "audit"}, 9)
    assert (found.status, found.headers["log-position"]) == (202, "7")
    assert found.content == (
        b'{"path":"/api/x","query":"a=%C3%A9%26&b=1","host":"localhost","x-purpose":"audit",'
        b'"more":false,"stays":true}'
    )


async def test_answer_sent_in_several_parts_is_joined() -> None:
    found = await OwnLog(StreamingResponse([b"a", b"b"])).get("/", [], {}, 9)
    assert (found.status, found.content) == (200, b"ab")
    assert (await OwnLog(Response(status_code=404)).get("/", [], {}, 9)).status == 404
