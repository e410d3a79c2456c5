"""A write's preconditions, checked against the current response to GET (RFC 9110 section 13).

The GET is sent through the application as the same client would send it, and served from the cache
if there is a fresh entry, otherwise by the endpoint. So the validator is the one that clients have
received, whether or not anything is cached and Redis replies. Without a validator, the condition
fails.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .. import _http
from .._http import Headers, Outcome, Validators
from .subrequests import FRESH_ONLY, send_subrequest, subrequest_scope

logger = logging.getLogger("redis_fastapi")

_MISSING: Final = frozenset({404, 410})


async def refused_by_preconditions(request: Request, *, now_ms: int) -> Response | None:
    """A 412 response if the preconditions of a write do not hold, otherwise None."""
    headers = request.scope["headers"]
    if not _http.has_preconditions(headers):
        return None
    status, headers = await _answer_to_get(request)
    if status in _MISSING:
        current = None
    elif 200 <= status < 300:
        current = _http.validators_of(headers, now_ms=now_ms)
    else:
        return Response(status_code=412)
    return Response(status_code=412) if _fails(request, current, now_ms) else None


async def _answer_to_get(request: Request) -> tuple[int, Headers]:
    scope = {**subrequest_scope(request.scope, b""), FRESH_ONLY: True}
    try:
        return await send_subrequest(scope, b"")
    except Exception as error:  # the application may raise anything
        logger.warning("no validator of %s for a conditional write: %r", scope["path"], error)
        return 500, ()


def _fails(request: Request, current: Validators | None, now_ms: int) -> bool:
    headers = request.scope["headers"]
    outcome = _http.evaluate_preconditions(request.method, headers, current, now_ms=now_ms)
    return outcome is Outcome.PRECONDITION_FAILED
