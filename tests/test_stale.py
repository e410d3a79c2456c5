"""Stale on purpose: refreshed in the background, in place of errors, early, scattered, marked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from apps import Gate, caching_app, serving, state_of
from redis_fastapi import (
    Cached,
    CacheEvict,
    CachePut,
    CacheRoute,
    FastAPIRedis,
    RedisSettings,
    cache,
    cache_evict,
)
from redis_fastapi._serving import refresh
from redis_fastapi._serving.refresh import Refreshes
from redis_fastapi._serving.subrequests import subrequest_scope
from redis_fastapi.testing import MemoryCache

TTL = 60
WINDOW = 30


class Shop:
    """An application with one number, which its GET returns and its writes evict."""

    def __init__(self, marker: Cached) -> None:
        self.app = caching_app()
        self.number = 1
        self.fails: Callable[[], Exception | Response] | None = None

        @self.app.get("/number")
        async def get_number() -> Annotated[Any, marker]:
            outcome = self.number if self.fails is None else self.fails()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        @self.app.delete("/soft")
        async def soft() -> Annotated[None, CacheEvict(group="numbers", soft=True)]: ...

        @self.app.delete("/soft-path")
        async def soft_path() -> Annotated[None, CacheEvict(key=get_number, soft=True)]: ...

        @self.app.delete(
            "/soft-dependency", dependencies=[Depends(cache_evict(group="numbers", soft=True))]
        )
        async def soft_dependency() -> None: ...

        @self.app.exception_handler(Sold)
        async def answer_sold(request: Request, error: Exception) -> Response:
            return Response("sold", 410)

        @self.app.delete("/hard")
        async def hard() -> Annotated[None, CacheEvict(group="numbers")]: ...


def told(response: httpx.Response) -> tuple[str | None, Any]:
    return state_of(response), response.json()


def cached(**options: Any) -> Cached:
    return Cached(TTL, group="numbers", **options)


def away() -> Exception:
    return RuntimeError("the database is away")


class Sold(Exception):
    """An exception for which the application has a handler."""


def running(shop: Shop) -> Iterator[tuple[MemoryCache, TestClient]]:
    with (
        MemoryCache(shop.app) as memory,
        TestClient(shop.app, raise_server_exceptions=False) as client,
    ):
        yield memory, client


# -- while it is refreshed


@pytest.fixture
def shop() -> Shop:
    return Shop(cached(stale_while_revalidate=WINDOW))


@pytest.fixture
def redis(shop: Shop) -> Iterator[tuple[MemoryCache, TestClient]]:
    yield from running(shop)


Running = tuple[MemoryCache, TestClient]


def test_a_stale_response_is_sent_and_the_next_one_is_new(shop: Shop, redis: Running) -> None:
    memory, client = redis
    client.get("/number")
    shop.number = 2
    memory.advance(TTL + 5)
    stale = client.get("/number")
    assert told(stale) == ("STALE", 1)
    assert stale.headers["cache-status"] == "redis-fastapi; hit; ttl=-5"
    assert stale.headers["age"] == "65"
    assert "stale-while-revalidate=30" in stale.headers["cache-control"]
    assert told(client.get("/number")) == ("HIT", 2)


def test_after_the_window_the_client_waits(shop: Shop, redis: Running) -> None:
    memory, client = redis
    client.get("/number")
    shop.number = 2
    memory.advance(TTL + WINDOW)
    assert told(client.get("/number")) == ("MISS", 2)


@pytest.mark.parametrize("path", ["/soft", "/soft-path", "/soft-dependency"])
def test_a_soft_eviction_makes_entries_stale(shop: Shop, redis: Running, path: str) -> None:
    _, client = redis
    client.get("/number")
    shop.number = 2
    client.delete(path)
    stale = client.get("/number")
    assert told(stale) == ("STALE", 1)
    assert stale.headers["cache-status"] == "redis-fastapi; hit; ttl=0"
    assert told(client.get("/number")) == ("HIT", 2)


@pytest.mark.parametrize("soft_first", [True, False])
def test_an_eviction_ends_stale_entries_at_once(
    shop: Shop, redis: Running, soft_first: bool
) -> None:
    memory, client = redis
    client.get("/number")
    shop.number = 2
    if soft_first:
        client.delete("/soft")
    else:
        memory.advance(TTL + 5)
    client.delete("/hard")
    assert told(client.get("/number")) == ("MISS", 2)


@pytest.mark.parametrize(
    ("asked", "state"),
    [
        ("no-cache", "MISS"),
        ("max-age=600", "MISS"),
        ("min-fresh=1", "MISS"),
        ("max-age=600, max-stale=60", "STALE"),
        ("only-if-cached", "STALE"),
    ],
)
def test_a_client_may_refuse_stale_responses(redis: Running, asked: str, state: str) -> None:
    memory, client = redis
    client.get("/number")
    memory.advance(TTL + 5)
    assert state_of(client.get("/number", headers={"cache-control": asked})) == state


@pytest.mark.parametrize("own", ["must-revalidate", "stale-while-revalidate=0", "s-maxage=60"])
def test_a_response_may_forbid_that_it_is_sent_stale(shop: Shop, redis: Running, own: str) -> None:
    memory, client = redis
    control = f"max-age=60, {own}"
    shop.fails = partial(Response, "1", headers={"cache-control": control})
    client.get("/number")
    memory.advance(TTL + 5)
    assert state_of(client.get("/number")) == "MISS"


def test_the_responses_own_stale_window_replaces_that_of_the_marker(
    shop: Shop, redis: Running
) -> None:
    memory, client = redis
    control = f"max-age=60, stale-while-revalidate={WINDOW * 2}"
    shop.fails = partial(Response, "1", headers={"cache-control": control})
    client.get("/number")
    memory.advance(TTL + WINDOW + 5)
    assert state_of(client.get("/number")) == "STALE"


def test_a_failed_refresh_leaves_the_entry(
    shop: Shop, redis: Running, caplog: pytest.LogCaptureFixture
) -> None:
    memory, client = redis
    client.get("/number")
    memory.advance(TTL + 5)
    shop.fails = away
    assert [told(client.get("/number")) for _ in range(2)] == [("STALE", 1)] * 2
    # the second one leaves the entry alone for a while
    failed = [one.getMessage() for one in caplog.records if "refreshed" in one.getMessage()]
    assert len(failed) == 1
    assert failed[0].startswith("GET /number (get_number): what is stale could not be refreshed")


def test_the_dependency_form_documents_the_same() -> None:
    app = caching_app()
    numbers = iter(range(9))

    @app.get("/number", dependencies=[Depends(cache(TTL, stale_while_revalidate=WINDOW))])
    async def get_number() -> int:
        return next(numbers)

    with MemoryCache(app) as memory, TestClient(app) as client:
        client.get("/number")
        memory.advance(TTL + 5)
        assert told(client.get("/number")) == ("STALE", 0)
        assert told(client.get("/number")) == ("HIT", 1)


# -- the run in the background


class Counted:
    """An application whose endpoint waits at a gate from its second run on."""

    def __init__(self, settings: RedisSettings | None = None) -> None:
        self.app = caching_app(settings)
        self.gate = Gate()
        self.runs = 0
        self.sessions: list[str] = []
        self.cancelled = False

        async def session() -> AsyncIterator[list[str]]:
            own = [f"session {len(self.sessions)}"]
            self.sessions.append("open")
            number = len(self.sessions) - 1
            try:
                yield own
            finally:
                own.clear()
                self.sessions[number] = "closed"

        @self.app.get("/slow")
        async def slow(
            own: Annotated[list[str], Depends(session)],
        ) -> Annotated[str, cached(stale_while_revalidate=WINDOW)]:
            self.runs += 1
            if self.runs > 1:
                await self._pass_gate()
            return own[0]

        @self.app.delete("/slow")
        async def evict() -> Annotated[None, CacheEvict(group="numbers", soft=True)]: ...

    async def _pass_gate(self) -> None:
        try:
            await self.gate.pass_through()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def runs_ended(app: FastAPI) -> None:
    """Wait until the runs in the background have ended."""
    tasks = runs_of(app)
    if tasks:
        await asyncio.wait(tasks, timeout=10)


def runs_of(app: FastAPI) -> set[Any]:
    refreshes: Refreshes = app.state.redis_fastapi._refreshes
    return set(refreshes._tasks)


async def test_clients_get_responses_while_one_run_goes_on() -> None:
    counted = Counted()
    async with serving(counted.app) as http:
        await http.get("/slow")
        await http.delete("/slow")
        first = await http.get("/slow")
        await counted.gate.reached()
        rest = [await http.get("/slow") for _ in range(5)]
        assert {told(answer) for answer in [first, *rest]} == {("STALE", "session 0")}
        counted.gate.open()
        await runs_ended(counted.app)
        answer = await http.get("/slow")
    assert state_of(answer) == "HIT"
    assert counted.runs == 2
    # one session a request, and the run had one of its own that was open while it ran
    assert answer.json() == "session 2"
    assert set(counted.sessions) == {"closed"}


async def test_over_all_processes_one_run_refreshes(redis_url: str) -> None:
    settings = RedisSettings(url=redis_url, deadline=5.0)
    one, other = Counted(settings), Counted(settings)
    other.runs = 1
    async with serving(one.app) as here, serving(other.app) as there:
        await here.get("/slow")
        await here.delete("/slow")
        assert state_of(await here.get("/slow")) == "STALE"
        await one.gate.reached()
        assert state_of(await there.get("/slow")) == "STALE"
        await runs_ended(other.app)
        one.gate.open()
        await runs_ended(one.app)
        assert state_of(await there.get("/slow")) == "HIT"
    assert (one.runs, other.runs) == (2, 1)


async def test_the_end_of_the_application_ends_the_run() -> None:
    counted = Counted()
    async with serving(counted.app) as http:
        await http.get("/slow")
        await http.delete("/slow")
        await http.get("/slow")
        await counted.gate.reached()
    assert counted.cancelled
    assert set(counted.sessions) == {"closed"}


async def test_the_number_of_background_runs_is_bounded() -> None:
    counted = Counted()
    async with serving(counted.app) as http:
        counted.app.state.redis_fastapi._refreshes._most = 0
        await http.get("/slow")
        await http.delete("/slow")
        assert state_of(await http.get("/slow")) == "STALE"
        assert not runs_of(counted.app)
    assert counted.runs == 1


async def cleaned_up_at_the_end() -> bool:
    """Whether a run comes to the end of its cleanup when the refreshes are closed."""
    refreshes, began, turns = Refreshes(), asyncio.Event(), 0

    async def run() -> None:
        nonlocal turns
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            while turns < 100:
                await asyncio.sleep(0)
                turns += 1

    refreshes._tasks.add(asyncio.ensure_future(run()))
    await began.wait()
    await refreshes.close()
    return turns == 100


async def test_a_run_cleans_up_when_the_application_ends() -> None:
    assert await cleaned_up_at_the_end()


async def test_control_a_run_cancelled_twice_does_not_clean_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh, "_CLEANUP_SECONDS", 0.0)
    assert not await cleaned_up_at_the_end()


async def test_closed_refreshes_begin_nothing() -> None:
    refreshes = Refreshes()
    await refreshes.close()
    begun = refreshes.begin(None, None, {}, b"")  # type: ignore[arg-type] # none is looked at
    assert begun is None


def test_a_background_run_has_the_headers_of_its_request_and_nothing_else() -> None:
    app = FastAPI()
    scope = {
        **{"type": "http", "method": "HEAD", "path": "/x", "query_string": b"a=1"},
        **{"app": app, "root_path": "", "state": {"pool": 1}, "session": {}},
        **{"router": 1, "endpoint": 1, "route": 1, "extensions": {}, "fastapi_inner_astack": 1},
        "headers": [
            *[(b"host", b"x"), (b"authorization", b"me"), (b"accept-language", b"fr")],
            *[(b"cache-control", b"no-cache"), (b"pragma", b"no-cache"), (b"range", b"bytes=0-1")],
            *[(b"if-none-match", b"*"), (b"if-modified-since", b"x"), (b"if-range", b"x")],
            *[(b"if-match", b"*"), (b"if-unmodified-since", b"x"), (b"content-length", b"0")],
        ],
    }
    made = subrequest_scope(scope, b"")
    assert made == {
        **{"type": "http", "method": "GET", "path": "/x", "query_string": b"a=1"},
        **{"app": app, "root_path": "", "state": {"pool": 1}, "session": {}},
        "headers": [(b"host", b"x"), (b"authorization", b"me"), (b"accept-language", b"fr")],
    }
    assert made["state"] is not scope["state"]


def placed(place: str) -> tuple[Any, FastAPI, str]:
    """What is served, the application in it that caches, and the path of its endpoint there."""
    router = APIRouter(route_class=CacheRoute)
    numbers = iter(range(9))

    @router.get("/x/{item}")
    async def read(
        request: Request, item: int, q: int = 0
    ) -> Annotated[int, Cached(TTL, stale_while_revalidate=WINDOW, shared=True)]:
        return next(numbers)

    app = FastAPI()
    FastAPIRedis(app).lifespan()
    if place == "sub-application":
        below = FastAPI()
        below.include_router(router)
        app.mount("/below", below)
        return app, app, "/below/x/1?q=2"
    if place == "mounted-router":
        app.mount("/below", router)
        return app, app, "/below/x/1?q=2"
    app.include_router(router, prefix="/in")
    if place == "below-starlette":
        return Starlette(routes=[Mount("/out/{tenant}", app)]), app, "/out/a/in/x/1?q=2"
    return app, app, "/in/x/1?q=2"


@pytest.mark.parametrize("place", ["application", "proxy", "sub-application", "below-starlette"])
def test_a_run_comes_to_the_same_endpoint_wherever_it_is_served(place: str) -> None:
    served, app, path = placed(place)
    root_path = "/proxy" if place == "proxy" else ""
    with MemoryCache(app) as memory, TestClient(served, root_path=root_path) as client:
        client.get(path)
        memory.advance(TTL + 5)
        assert told(client.get(path)) == ("STALE", 0)
        assert told(client.get(path)) == ("HIT", 1)


# -- in place of errors


@pytest.fixture
def failing() -> Shop:
    return Shop(cached(stale_if_error=WINDOW))


@pytest.fixture
def kept(failing: Shop) -> Iterator[Running]:
    yield from running(failing)


ERRORS: dict[str, tuple[int, Callable[[], Exception | Response]]] = {
    **{f"answer-{one}": (one, partial(Response, "", one)) for one in (500, 502, 503, 504)},
    **{f"raised-{one}": (one, partial(HTTPException, one)) for one in (500, 502, 503, 504)},
    "raised": (500, away),
}


@pytest.mark.parametrize(("status", "fails"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "aged"])
def test_a_stale_response_is_sent_in_place_of_an_error(
    failing: Shop, kept: Running, status: int, fails: Any, soft: bool
) -> None:
    memory, client = kept
    client.get("/number")
    if soft:
        client.delete("/soft")
    else:
        memory.advance(TTL + 5)
    failing.fails = fails
    answer = client.get("/number")
    assert (answer.status_code, *told(answer)) == (200, "STALE", 1)
    late = 0 if soft else -5
    assert answer.headers["cache-status"] == (
        f"redis-fastapi; fwd=stale; fwd-status={status}; ttl={late}"
    )
    failing.fails, failing.number = None, 2
    assert told(client.get("/number")) == ("MISS", 2)


@pytest.mark.parametrize(
    ("status", "fails"),
    [
        (404, partial(HTTPException, 404)),
        (401, partial(HTTPException, 401)),
        (501, partial(Response, "", 501)),
    ],
)
def test_other_statuses_are_sent_as_they_are(
    failing: Shop, kept: Running, status: int, fails: Any
) -> None:
    memory, client = kept
    client.get("/number")
    memory.advance(TTL + 5)
    failing.fails = fails
    assert client.get("/number").status_code == status


@pytest.mark.parametrize("why", ["evicted", "too-late", "refused", "never-stored"])
def test_without_stale_if_error_an_error_is_sent(failing: Shop, kept: Running, why: str) -> None:
    memory, client = kept
    if why != "never-stored":
        client.get("/number")
    memory.advance(TTL + (WINDOW if why == "too-late" else 5))
    if why == "evicted":
        client.delete("/hard")
    failing.fails = away
    headers = {"cache-control": "no-cache"} if why == "refused" else {}
    assert client.get("/number", headers=headers).status_code == 500


def test_an_exception_with_a_handler_is_reported_as_its_response(
    failing: Shop, kept: Running
) -> None:
    memory, client = kept
    client.get("/number")
    memory.advance(TTL + 5)
    failing.fails = Sold
    assert client.get("/number").status_code == 410


def test_an_error_is_logged_if_a_stale_response_is_sent_in_its_place(
    failing: Shop, kept: Running, caplog: pytest.LogCaptureFixture
) -> None:
    memory, client = kept
    client.get("/number")
    memory.advance(TTL + 5)
    failing.fails = away
    client.get("/number")
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the database is away"


class Guarded:
    """An application with a guard, and a session that records how its endpoint ended."""

    def __init__(self) -> None:
        self.app = caching_app()
        self.ends: list[str] = []
        self.fails = self.refuses = False

        async def session() -> AsyncIterator[None]:
            try:
                yield
            except Exception:
                self.ends.append("rolled back")
                raise
            self.ends.append("committed")

        async def guard() -> None:
            if self.refuses:
                raise HTTPException(503)

        @self.app.get("/kept", dependencies=[Depends(guard), Depends(session)])
        async def read() -> Annotated[int, cached(stale_if_error=WINDOW)]:
            if self.fails:
                raise RuntimeError("the database is away")
            return 1

        @self.app.put("/kept", dependencies=[Depends(session)])
        async def write() -> Annotated[int, CachePut()]:
            raise RuntimeError("the database is away")


def test_dependencies_see_the_error_that_a_stale_response_replaces() -> None:
    guarded = Guarded()
    with MemoryCache(guarded.app) as memory, TestClient(guarded.app) as client:
        client.get("/kept")
        memory.advance(TTL + 5)
        guarded.fails = True
        assert told(client.get("/kept")) == ("STALE", 1)
    assert guarded.ends == ["committed", "rolled back"]


def test_no_stale_response_replaces_the_error_of_a_dependency() -> None:
    guarded = Guarded()
    with MemoryCache(guarded.app) as memory, TestClient(guarded.app) as client:
        client.get("/kept")
        memory.advance(TTL + 5)
        guarded.refuses = True
        assert client.get("/kept").status_code == 503


def test_no_stale_response_replaces_the_error_of_a_write() -> None:
    guarded = Guarded()
    with (
        MemoryCache(guarded.app),
        TestClient(guarded.app, raise_server_exceptions=False) as client,
    ):
        client.get("/kept")
        assert client.put("/kept").status_code == 500


# -- before the end


@pytest.mark.parametrize(("beta", "runs"), [(1e9, 2), (0.0, 1)])
def test_an_eager_marker_refreshes_before_the_end(beta: float, runs: int) -> None:
    app = caching_app()
    ran: list[int] = []

    @app.get("/dear")
    async def dear() -> Annotated[int, Cached(TTL, beta=beta)]:
        memory.advance(5)
        ran.append(1)
        return len(ran)

    with MemoryCache(app) as memory, TestClient(app) as client:
        client.get("/dear")
        assert told(client.get("/dear")) == ("HIT", 1)
        assert told(client.get("/dear")) == ("HIT", runs)


def test_an_entry_that_cost_nothing_is_not_refreshed_early() -> None:
    app = caching_app()
    ran: list[int] = []

    @app.get("/cheap")
    async def cheap() -> Annotated[int, Cached(TTL, beta=1e9)]:
        ran.append(1)
        return 1

    with MemoryCache(app), TestClient(app) as client:
        assert [state_of(client.get("/cheap")) for _ in range(3)] == ["MISS", "HIT", "HIT"]
    assert len(ran) == 1


def test_jittered_lifetimes_stay_within_the_fraction() -> None:
    app = caching_app()

    @app.get("/{item}")
    async def read(item: int) -> Annotated[int, Cached(1_000, jitter=0.2)]:
        return item

    with MemoryCache(app), TestClient(app) as client:
        said = {client.get(f"/{item}").headers["cache-control"] for item in range(20)}
    lifetimes = {int(one.removeprefix("max-age=")) for one in said}
    assert len(lifetimes) > 5
    assert all(800 <= one <= 1_000 for one in lifetimes)


def test_an_error_that_is_stored_is_not_sent_stale() -> None:
    app = caching_app()
    marker = Cached(TTL, statuses={404: 10}, stale_while_revalidate=WINDOW)

    @app.get("/missing")
    async def missing() -> Annotated[int, marker]:
        raise HTTPException(404)

    with MemoryCache(app) as memory, TestClient(app) as client:
        answers = [client.get("/missing"), client.get("/missing")]
        memory.advance(15)
        answers.append(client.get("/missing"))
    assert [state_of(answer) for answer in answers] == ["MISS", "HIT", "MISS"]
