"""The limit for single commands over HTTP: Starlette that parses JSON, and answers with JSON.

    python -m bench.echo PORT ANSWER

ANSWER is the JSON file that every request is answered with, plus what the request held.
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
"""Those of an execution's commands and log lines; the most frequent comes first, as with the service."""


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
