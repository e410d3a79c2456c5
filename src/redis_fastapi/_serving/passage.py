"""One request's passage through the cache: before its endpoint, after it, and when it fails.

Both the route's handler and the endpoint's wrapper take part. What they share about one request is
in its scope while FastAPI's own handler runs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from .._engine.engine import Outcome
from .._http import Forward
from .._policy.declare import SCOPE_KEY
from .._policy.policy import Policy, ReadPolicy, Values, WritePolicy
from .._policy.wrapping import Run
from .._redis.keys import Target
from .cache_status import CacheStatus
from .context import Context
from .known_routes import KNOWN_ROUTES
from .observed import ObservedReading, ObservedWriting
from .reading import Reading
from .refresh import RERUN
from .responses import own_copy
from .shortcut import Destination, Shortcut
from .writing import Writing

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

BEGUN_PASSAGE = "redis_fastapi_begun_passage"
"""Key in a request's scope of a passage that began on the fast path."""

EXPLAIN = "redis_fastapi_explain"
"""Key in a request's scope of the explainer, if the request is only to be explained."""


class CachePassage:
    """What the wrapper and the handler of one request share."""

    def __init__(
        self, policy: Policy, context: Context, scope: Scope, shortcut: Shortcut | None
    ) -> None:
        self.policy = policy
        self._context = context
        self._shortcut = shortcut
        alias = self._alias = None if shortcut is None else shortcut.alias_of(scope)
        self.destination = None if shortcut is None or alias is None else shortcut.find(alias)
        self.reading = _reading(policy.read, context, scope)
        self.writing = _writing(policy.write, context)
        self._of_other_method = policy.read is not None and self.reading is None

    def belongs_to(self, policy: Policy, context: Context) -> bool:
        """Whether it began for this policy and context."""
        return self.policy is policy and self._context is context

    def register_cleanup(self, request: Request) -> None:
        """Ask to be called when dependencies clean up, if that decides what stays in the cache."""
        read, write = self.policy.read, self.policy.write
        if self.writing is not None and write is not None and write.late_cleanup:
            registered = _push_first(request, "fastapi_inner_astack", self.writing.after_cleanup)
            self.writing.awaits_cleanup = registered
            _push_first(request, "fastapi_function_astack", self.writing.after_function_cleanup)
        if self.reading is not None and read is not None and read.statuses:
            _push_first(request, "fastapi_inner_astack", self.reading.after_cleanup)

    async def run(self, endpoint: Run, values: Values, request: Request, injected: Response) -> Any:
        """Respond from the cache, or run the endpoint."""
        response = await self._before(values, request, injected)
        if response is not None:
            return response
        try:
            result = await endpoint(dict(values), self._ended_in_thread)
        except Exception as error:
            if self.reading is not None:
                self.reading.endpoint_raised(error)
            raise
        if self.reading is not None:
            self.reading.endpoint_returned(result)
        if self.writing is not None:
            self.writing.endpoint_returned(result)
        return result

    def _ended_in_thread(self) -> None:
        if self.writing is not None:
            self.writing.ended_in_thread()

    async def _before(
        self, values: Values, request: Request, injected: Response
    ) -> Response | None:
        response = None
        if self.reading is not None:
            response = await self.reading.before_endpoint(
                values, request, injected, self.destination
            )
            self._learn_alias(self.reading.target)
        if response is None and self.writing is not None:
            response = await self.writing.before_endpoint(values, request)
        return response

    def _learn_alias(self, target: Target | None) -> None:
        if self._alias is None or self._shortcut is None or self.destination is not None:
            return
        if target is not None:
            self._shortcut.learn(self._alias, target)

    async def before_dependencies(
        self, destination: Destination, found: Outcome | None = None
    ) -> Response | None:
        """A response from the cache before dependencies are resolved, or None.

        Args:
            destination: The request's destination.
            found: The outcome of the lookup, if it was made.
        """
        if self.reading is None:
            return None
        return await self.reading.before_dependencies(destination, found)

    async def finish(self, response: Response) -> Response:
        """Complete the response, and store or evict what is due."""
        if self.writing is not None:
            response = await self.writing.finish(response)
        if self.reading is not None:
            response = await self.reading.finish(response)
        elif self._of_other_method:
            response = own_copy(response)
            response.raw_headers += CacheStatus(None, Forward.METHOD).fields(debug=False)
        return response

    async def abandon(self, error: BaseException) -> Response | None:
        """Clean up when there is no response; returns the one to send instead, or None."""
        stand_in = None
        try:
            if self.reading is not None:
                stand_in = await self.reading.failed(error)
        finally:
            if self.writing is not None:
                stand_in = await self.writing.abandon(error) or stand_in
        return stand_in


def _reading(read: ReadPolicy | None, context: Context, scope: Scope) -> Reading | None:
    if read is None or scope["method"] != "GET":
        return None
    # a background refresh has no client, so it is not reported
    if context.telemetry is None or RERUN in scope:
        return Reading(read, context, scope)
    return ObservedReading(read, context, scope, context.telemetry)


def _writing(write: WritePolicy | None, context: Context) -> Writing | None:
    if write is None:
        return None
    if context.telemetry is None:
        return Writing(write, context)
    return ObservedWriting(write, context, context.telemetry)


async def serve(
    handler: Handler,
    policy: Policy,
    request: Request,
    context: Context | None,
    shortcut: Shortcut | None = None,
) -> Response:
    """Serve one request of a route that has a policy.

    Args:
        handler: FastAPI's own handler, which calls the endpoint's wrapper.
        policy: Of the route, at the place where it serves.
        request: The request.
        context: Of the application; None while caching is off.
        shortcut: Of the route; None if it has none.
    """
    try:
        explainer = request.scope.get(EXPLAIN)
        if explainer is not None:
            request.scope[SCOPE_KEY] = explainer.passage(policy, context)
            return await handler(request)
        if context is None:
            return await handler(request)
        return await _serve_through_cache(handler, policy, request, context, shortcut)
    except BaseException as error:
        _name_endpoint(error, policy.endpoint)
        raise


async def _serve_through_cache(
    handler: Handler,
    policy: Policy,
    request: Request,
    context: Context,
    shortcut: Shortcut | None,
) -> Response:
    passage: CachePassage | None = request.scope.pop(BEGUN_PASSAGE, None)
    if passage is not None and not passage.belongs_to(policy, context):
        # routes changed since it began; kept, it would hold a lease that we wait for
        await passage.abandon(asyncio.CancelledError())
        passage = None
    if passage is None:
        passage = CachePassage(policy, context, request.scope, shortcut)
    passage.register_cleanup(request)
    try:
        destination = passage.destination
        if destination is not None and shortcut is not None and shortcut.early:
            # on the second request with an alias, since learning costs as much as routing
            _learn_route(shortcut, policy, destination, request.scope)
            if (response := await passage.before_dependencies(destination)) is not None:
                return response
        request.scope[SCOPE_KEY] = passage
        return await passage.finish(await handler(request))
    except BaseException as error:
        stand_in = await passage.abandon(error)
        if stand_in is None:
            raise
        await _clean_up(request, error)
        return stand_in
    finally:
        # passage and request refer to each other: this breaks the reference cycle
        request.scope.pop(SCOPE_KEY, None)


def _learn_route(
    shortcut: Shortcut, policy: Policy, destination: Destination, scope: Mapping[str, Any]
) -> None:
    """Let later requests with this alias take the fast path."""
    routes = getattr(scope.get("app"), KNOWN_ROUTES, None)
    if routes is not None:
        routes.learn(scope, destination, policy, shortcut.dependant)


def _push_first(request: Request, stack: str, due: Callable[..., Awaitable[bool]]) -> bool:
    """Register a callback for after the dependencies' own cleanup, which is pushed later.

    Returns:
        Whether it will be called; FastAPI before 0.118 cleans up before the response is known.
    """
    cleanup = request.scope.get(stack)
    if cleanup is not None:
        cleanup.push_async_exit(due)
    return cleanup is not None


async def _clean_up(request: Request, error: BaseException) -> None:
    """Let dependencies clean up after an error that is not raised; raises what they raise."""
    for name in ("fastapi_function_astack", "fastapi_inner_astack"):
        if (cleanup := request.scope.get(name)) is not None:
            await cleanup.pop_all().__aexit__(type(error), error, error.__traceback__)


def _name_endpoint(error: BaseException, endpoint: Callable[..., Any]) -> None:
    """Make validation errors of newer FastAPI releases name the user's file, not ours."""
    if getattr(error, "endpoint_file", None) is None:
        return
    try:
        lines = inspect.getsourcelines(endpoint)
        where = {
            "endpoint_file": inspect.getsourcefile(endpoint),
            "endpoint_line": lines[1],
            "endpoint_function": getattr(endpoint, "__name__", type(endpoint).__name__),
        }
    except (OSError, TypeError):
        return
    for name, value in where.items():
        setattr(error, name, value)
