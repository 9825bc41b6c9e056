"""The limit for single commands over HTTP: a Starlette application that parses JSON and answers with JSON.

    python -m bench.echo PORT ANSWER

Every request is answered with the JSON in the file ANSWER, plus the body of the request.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATHS = ("/{id}/progress", "", "/{id}/{word}", "/{id}/steps/{step}/{word}")
"""The paths of an execution's commands and log lines; the most frequent comes first, as in the service."""


def app(answer: dict[str, object]) -> Starlette:
    async def echo(request: Request) -> Response:
        received = orjson.loads(await request.body())
        content = orjson.dumps({**answer, "received": received})
        return Response(content, media_type="application/json")

    return Starlette(
        routes=[Route(f"/api/executions{path}", echo, methods=["POST"]) for path in PATHS]
    )


def main() -> None:
    port, answer = int(sys.argv[1]), orjson.loads(Path(sys.argv[2]).read_bytes())
    uvicorn.run(
        app(answer),
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
