"""All problem codes: their status, title, cause and cure."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """The HTTP status, title, cause and cure of one problem code."""

    status: int
    title: str
    cause: str
    cure: str


PROBLEMS = {
    "malformed": Problem(
        400,
        "Malformed request",
        "The body is not well-formed JSON or has a key twice in one object, or the request is not "
        "valid HTTP/1.1. `detail` says where.",
        "Correct the text that is sent. JSON has no comments, no NaN and no commas at the end.",
    ),
    "unauthenticated": Problem(
        401,
        "Authentication required",
        "The request has no token, or one that is not known here.",
        "Send `Authorization: Bearer <token>`. `executions token` prints the administrator's.",
    ),
    "forbidden": Problem(
        403,
        "Forbidden",
        "The token is known, but does not have the right that this needs; `detail` names it.",
        "Ask for the right, or leave out what needs it, such as an `occurredAt` of long ago.",
    ),
    "purpose-required": Problem(
        403,
        "Purpose required",
        "The caller is an auditor, who reads by a grant, and the request does not say what for.",
        "Send the header `X-Purpose`, 1 to 200 characters, with each read. It stands in the access log, which "
        "the parties of the execution read.",
    ),
    "not-found": Problem(
        404,
        "Not found",
        "There is nothing under this path or id.",
        "Check path and id; `/openapi.json` lists all paths.",
    ),
    "method-not-allowed": Problem(
        405,
        "Method not allowed",
        "The path exists, but does not take this method.",
        "Use one of the methods in the header `Allow`.",
    ),
    "not-acceptable": Problem(
        406,
        "Not acceptable",
        "Nothing that `Accept` allows can be made here.",
        "Accept `application/json`, or what `/openapi.json` says that the path answers.",
    ),
    "too-slow": Problem(
        408,
        "Request timeout",
        "The head of the request did not come whole within 10 seconds, or the body within 30 and one more "
        "for each 4 KiB.",
        "Send it again, in one go.",
    ),
    "illegal-transition": Problem(
        409,
        "Status does not allow this command",
        "The command is not allowed in `currentStatus`, or "
        "the command was done already with other content.",
        "Send one of `allowedCommands`, or read the present state and decide again.",
    ),
    "lease-lost": Problem(
        409,
        "Lease lost",
        "The worker that is named, in `X-Worker` or in the body, does not hold this execution: its lease was "
        "lost, as no sign of life came, or another one has claimed it, `claimedBy`.",
        "Stop this work, and claim another execution. Send heartbeats more often than a lease lasts.",
    ),
    "erased": Problem(
        409,
        "Content erased",
        "The content of this was erased, and the command would keep new content, or have it worked "
        "on again; or it is an erasure for another reason than the one that was given.",
        "Create another execution. Tags, metadata and usage of this one may still be recorded.",
    ),
    "held": Problem(
        409,
        "Kept by a legal hold",
        "The legal holds in `holds` keep this as it is.",
        "Ask those who placed them; once all are released (`DELETE /holds/:id`), send it again.",
    ),
    "too-many-grants": Problem(
        409,
        "Too many open grants",
        "The customer or the provider has `limit` grants that are neither revoked nor over.",
        "Revoke those that are not needed (`GET /grants?status=active`), or grant more by one: several `executions`, "
        "an `order`, a `service` or a `filter`.",
    ),
    "already-exists": Problem(
        409,
        "Already exists",
        "The id is taken.",
        "Choose another id, or leave it out and one is made.",
    ),
    "other-log": Problem(
        410,
        "Another log",
        "The cursor, or the position, is of the log that `log` in the query names, and this server serves another log, the "
        "member `log`: "
        "it was restored from a backup, or is another server's. Its events may be others at the same "
        "positions.",
        "Begin again: drop what came after the backup, or all, and read from there on without a cursor of "
        "the old log; keep the new id with the new cursor.",
    ),
    "version-mismatch": Problem(
        412,
        "Version mismatch",
        "Since the version in `If-Match` something else was recorded; `version` is the present one.",
        "Read it again, decide on what it is now, and send the new version.",
    ),
    "too-large": Problem(
        413,
        "Content too large",
        "The body has more bytes than `limit`, or the execution holds as much as one can.",
        "Send less at once; keep large content elsewhere and send its address.",
    ),
    "unsupported-media-type": Problem(
        415,
        "Unsupported media type",
        "The body is not uncompressed JSON in UTF-8.",
        "Send `Content-Type: application/json`, without `Content-Encoding`.",
    ),
    "misdirected": Problem(
        421,
        "Id of another log",
        "The id begins with the name of another log, `log`, and this server serves another log. `url` says where that one is, "
        "if this server knows it.",
        "Send the request to `url`. An id says by its beginning of which log it is: `north~exec_…` is of `north`.",
    ),
    "streams-only": Problem(
        421,
        "Only streams here",
        "This is an edge: a server that sends streams of events, and takes no commands and no other questions.",
        "Send the request to `url`, the server of the log.",
    ),
    "invalid": Problem(
        422,
        "Invalid request",
        "The request can be read, but a member, parameter or header is not what it must be. `errors` "
        "has the `path` and a `message` for each.",
        "Correct what `errors` names; `/openapi.json` has the schema of each body and parameter.",
    ),
    "read-only": Problem(
        422,
        "Read-only members",
        "The body changes members that only the server sets; `errors` names them. Those that are as "
        "they are shown may be sent back, and are ignored.",
        "Leave them out, or read the document again and send it with your changes.",
    ),
    "unknown-reference": Problem(
        422,
        "Unknown reference",
        "The request names something that does not exist; `field` says where.",
        "Create what is named first, or correct the id.",
    ),
    "idempotency-key-reused": Problem(
        422,
        "Idempotency key reused",
        "The `Idempotency-Key` came with another request within 24 hours.",
        "Use a new key for each new request, and the same key only to repeat the very same one.",
    ),
    "too-expensive": Problem(
        422,
        "Too expensive",
        "The answer would take the database or the server longer than one request may. Nothing is "
        "wrong with either.",
        "Ask for less: filter by one of `indexedFields`, choose a shorter range or a smaller page.",
    ),
    "rate-limited": Problem(
        429,
        "Too many requests",
        "There are more requests or connections of this caller than are allowed; `detail` says which.",
        "Wait for the seconds in `Retry-After`, then send it again; keep fewer connections open.",
    ),
    "head-too-large": Problem(
        431,
        "Request head too large",
        "Request line and headers have more than 64 KiB together.",
        "Shorten the path, the query or the headers; a long filter goes to `POST /executions/find`.",
    ),
    "damaged": Problem(
        500,
        "Stored data is damaged",
        "What is stored of this cannot be read: bytes, a key or a name are not what they were when they "
        "were written, or a newer program wrote them. Nothing is wrong with the request.",
        "Tell the operator of the server: it has been logged, and `executions verify` names all that is "
        "damaged. Sending it again changes nothing.",
    ),
    "internal": Problem(
        500,
        "Internal error",
        "Something failed in the server that should not; it has been logged.",
        "Send it again with the same `Idempotency-Key`; if it stays, tell the operator of the server.",
    ),
    "overloaded": Problem(
        503,
        "Temporarily overloaded",
        "Too many requests wait, there are too many connections, or the database, or the archive that has what you "
        "ask for, does not answer.",
        "Wait for the seconds in `Retry-After`, then send it again, with the same "
        "`Idempotency-Key` if it had one.",
    ),
    "cell-away": Problem(
        503,
        "Another log is away",
        "One of the logs that were asked, `cell`, does not answer, or is overloaded; without it the answer would lack "
        "what it has.",
        "Send it again after `Retry-After`, or with `partial=true` for what the others have.",
    ),
    "outcome-unknown": Problem(
        504,
        "Outcome unknown",
        "The database went away while the command was written, and did not come back within seconds: "
        "the command may have been recorded or not.",
        "Send it again with the same `Idempotency-Key`. Without one, read first whether it was recorded: "
        "events carry the `correlation` of your request.",
    ),
    "not-yet-visible": Problem(
        504,
        "Not yet visible",
        "The data has not reached the position in `minPosition`.",
        "Ask again, or wait longer with `Prefer: wait=30`.",
    ),
}
