"""What clients get of the rules of HTTP: cached routes under a server's eyes (docs/http.md)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header, HTTPException, Request, Response
from fastapi.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)

from apps import Gate, cache_router, caching_app, memory_settings, serving, state_of, states
from endpoint_forms import FASTAPI_VERSION
from redis_fastapi import Cached, _http, cache
from redis_fastapi._redis.transport import timeout_at
from redis_fastapi._serving import completion
from redis_fastapi._serving.reading import Reading
from support import Runs, directives_of

BODY = b"0123456789"
LONG = b"tea leaves " * 20_000


def status_of(response: Any) -> str:
    """The value of Cache-Status, without the name of the cache."""
    value: str = response.headers["cache-status"]
    assert value.startswith("redis-fastapi")
    return value.removeprefix("redis-fastapi").removeprefix("; ")


class Shop:
    """An application of the endpoints below, which count their runs."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.runs = Runs()
        self.path = path
        self.app = caching_app(memory_settings(**settings))
        self._add_bodies()
        self._add_streams()
        self._add_statuses()

    def _add_bodies(self) -> None:
        app, runs = self.app, self.runs

        @app.get("/text")
        async def text() -> Annotated[Response, Cached(60)]:
            runs.note()
            return PlainTextResponse(BODY)

        @app.get("/dated")
        async def dated() -> Annotated[Response, Cached(60)]:
            runs.note()
            headers = {"etag": 'W/"v1"', "last-modified": "Wed, 01 Jan 2020 00:00:00 GMT"}
            return PlainTextResponse(BODY, headers=headers)

        @app.get("/bytes")
        async def octets() -> Annotated[Response, Cached(60)]:
            runs.note()
            headers = [("x-a", "1"), ("x-a", "2"), ("connection", "x-hop"), ("x-hop", "1")]
            response = Response(bytes(range(256)), media_type="image/x-test", status_code=203)
            response.raw_headers += [(name.encode(), text.encode()) for name, text in headers]
            response.set_cookie("a", "b")
            return response

    def _add_streams(self) -> None:
        app, runs = self.app, self.runs

        @app.get("/stream")
        async def stream(size: int = 3, fail: bool = False) -> Annotated[Response, Cached(60)]:
            runs.note()

            async def pieces() -> AsyncIterator[bytes]:
                for number in range(size):
                    yield b"%d," % number
                if fail:
                    raise RuntimeError("the source went away")

            return StreamingResponse(pieces(), media_type="text/x-numbers")

        @app.get("/part")
        async def part(request: Request) -> Annotated[Response, Cached(60, shared=True)]:
            runs.note()
            if "range" not in request.headers:
                return PlainTextResponse(BODY)
            return PlainTextResponse(BODY[:4], 206, {"content-range": "bytes 0-3/10"})

        @app.get("/events")
        async def events() -> Annotated[Response, Cached(60)]:
            runs.note()
            return StreamingResponse(iter([b"data: 1\n\n"]), media_type="text/event-stream")

        @app.get("/file")
        async def file() -> Annotated[Response, Cached(60)]:
            runs.note()
            return FileResponse(self.path)

    def _add_statuses(self) -> None:
        app, runs = self.app, self.runs
        kept = Cached(300, statuses={404: 10, 301: 20})

        def guard(refuse: bool = False) -> None:
            if refuse:
                raise HTTPException(404, "the guard says no")

        @app.get("/raised/{item}", dependencies=[Depends(guard)])
        async def raised(item: int) -> Annotated[dict[str, int], kept]:
            runs.note()
            if item == 0:
                raise HTTPException(404, "no such item", headers={"x-why": "gone"})
            if item == 1:
                raise HTTPException(410)
            return {"item": item}

        @app.get("/returned/{status}")
        async def returned(status: int) -> Annotated[Response, kept]:
            runs.note()
            if status == 301:
                return RedirectResponse("/elsewhere", 301)
            return PlainTextResponse("said", status)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    file = tmp_path / "leaves.txt"
    file.write_bytes(LONG)
    return Shop(file)


# Conditions


@pytest.mark.parametrize("warm", [False, True], ids=["miss", "hit"])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/text", {"if-none-match": "ETAG"}, id="9110-13.1.2-own-digest"),
        pytest.param("/text", {"if-none-match": '"x", W/ETAG'}, id="9110-13.1.2-list-and-weak"),
        pytest.param("/text", {"if-none-match": "*"}, id="9110-13.1.2-star"),
        pytest.param("/dated", {"if-none-match": '"v1"'}, id="9110-8.8.3.2-endpoints-own"),
        pytest.param(
            "/dated",
            {"if-modified-since": "Wednesday, 01-Jan-20 00:00:00 GMT"},
            id="9110-5.6.7-rfc850",
        ),
        pytest.param(
            "/dated", {"if-modified-since": "Wed Jan  1 00:00:00 2020"}, id="9110-5.6.7-asctime"
        ),
    ],
)
async def test_an_unchanged_response_is_304_on_a_hit_and_on_a_miss(
    shop: Shop, path: str, headers: dict[str, str], warm: bool
) -> None:
    async with serving(shop.app) as other:
        etag = (await other.get(path)).headers["etag"]
        if not warm:
            headers = {**headers, "cache-control": "no-cache"}
        asked = {name: value.replace("ETAG", etag) for name, value in headers.items()}
        response = await other.get(path, headers=asked)

    assert (response.status_code, response.content) == (304, b"")
    assert {"etag", "cache-control"} <= set(response.headers)
    assert not {"content-type", "content-length"} & set(response.headers)
    assert len(shop.runs) == (1 if warm else 2)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"if-none-match": '"other"'}, id="9110-13.1.2-changed"),
        pytest.param(
            {"if-none-match": '"other"', "if-modified-since": "Thu, 02 Jan 2020 00:00:00 GMT"},
            id="9110-13.2.2-the-tag-wins",
        ),
        pytest.param({"if-modified-since": "yesterday"}, id="9110-13.1.3-bad-date"),
        pytest.param({"if-none-match": 'W/"'}, id="9110-13.1.2-bad-tag"),
    ],
)
async def test_a_changed_response_is_sent_in_full(shop: Shop, headers: dict[str, str]) -> None:
    async with serving(shop.app) as http:
        for _ in range(2):
            response = await http.get("/dated", headers=headers)
            assert (response.status_code, response.content) == (200, BODY)


# Ranges


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        pytest.param("bytes=2-4", 206, b"234", "bytes 2-4/10", id="9110-14.1.2-first-last"),
        pytest.param("bytes=-3", 206, b"789", "bytes 7-9/10", id="9110-14.1.2-suffix"),
        pytest.param("bytes=8-", 206, b"89", "bytes 8-9/10", id="9110-14.1.2-open"),
        pytest.param("bytes=20-", 416, b"", "bytes */10", id="9110-15.5.17-unsatisfiable"),
        pytest.param("lines=1-2", 200, BODY, None, id="9110-14.2-other-unit"),
        pytest.param("bytes=4-2", 200, BODY, None, id="9110-14.1.1-invalid"),
    ],
)
async def test_a_range_is_cut_from_a_hit_and_from_a_miss(
    shop: Shop, asked: str, status: int, content: bytes, content_range: str | None
) -> None:
    async with serving(shop.app) as http:
        for _ in range(2):
            response = await http.get("/text", headers={"range": asked})
            assert (response.status_code, response.content) == (status, content)
            assert response.headers.get("content-range") == content_range
            assert response.headers["content-length"] == str(len(content))
        whole = await http.get("/text")
        assert (state_of(whole), whole.content) == ("HIT", BODY)


async def test_several_ranges_are_one_multipart_response(shop: Shop) -> None:
    async with serving(shop.app) as http:
        response = await http.get("/text", headers={"range": "bytes=0-1, 5-6"})

        assert response.status_code == 206
        assert response.headers["content-type"].startswith("multipart/byteranges; boundary=")
        assert response.content.count(b"content-range: bytes ") == 2


async def test_if_range_takes_a_strong_validator_only(shop: Shop) -> None:
    async with serving(shop.app) as http:
        etag = (await http.get("/text")).headers["etag"]
        await http.get("/dated")
        headers = {"range": "bytes=0-1"}

        same = await http.get("/text", headers={**headers, "if-range": etag})
        other = await http.get("/text", headers={**headers, "if-range": '"other"'})
        weak = await http.get("/dated", headers={**headers, "if-range": 'W/"v1"'})

        assert [one.status_code for one in (same, other, weak)] == [206, 200, 200]


async def test_a_partial_response_of_the_endpoint_is_never_stored_as_complete(shop: Shop) -> None:
    async with serving(shop.app) as http:
        part = await http.get("/part", headers={"range": "bytes=0-3"})
        whole = await http.get("/part")

        assert (part.status_code, part.content) == (206, BODY[:4])
        assert (whole.content, state_of(whole)) == (BODY, "MISS")


async def test_control_without_the_storage_rules_a_part_is_served_as_the_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "storage_refusal", lambda *_, **__: None)
    async with serving(shop.app) as http:
        await http.get("/part", headers={"range": "bytes=0-3"})

        assert (await http.get("/part")).content == BODY[:4]


# HEAD


async def test_head_is_served_from_the_stored_get(shop: Shop) -> None:
    async with serving(shop.app) as http:
        await http.get("/text")
        response = await http.head("/text")

        assert (response.status_code, response.content, state_of(response)) == (200, b"", "HIT")
        assert response.headers["content-length"] == "10"
        assert len(shop.runs) == 1


@pytest.mark.parametrize("path", ["/text", "/stream", "/file", "/raised/0"])
async def test_a_head_miss_runs_the_get_and_stores_it(shop: Shop, path: str) -> None:
    async with serving(shop.app) as http:
        head = await http.head(path, headers={"range": "bytes=0-1"})
        read = await http.get(path)

        assert (head.content, state_of(head), state_of(read)) == (b"", "MISS", "HIT")
        assert head.status_code == read.status_code
        assert read.content
        assert len(shop.runs) == 1


@pytest.mark.parametrize("first", ["get", "head"])
@pytest.mark.parametrize("included", [False, True])
async def test_an_explicit_head_route_wins(first: str, included: bool) -> None:
    app, router = caching_app(), cache_router()
    place = router if included else app

    async def get() -> Annotated[str, Cached(60)]:
        return "read"

    async def head(response: Response) -> None:
        response.headers["x-explicit"] = "1"

    routes: list[tuple[str, Any]] = [("GET", get), ("HEAD", head)]
    for method, endpoint in routes if first == "get" else reversed(routes):
        place.add_api_route("/thing", endpoint, methods=[method])
    if included:
        app.include_router(router, prefix="/in")
    async with serving(app) as http:
        response = await http.head("/in/thing" if included else "/thing")

        assert response.headers["x-explicit"] == "1"


@pytest.mark.parametrize("included", [False, True])
async def test_head_leaves_openapi_and_other_routes_as_they_are(included: bool) -> None:
    app, router = caching_app(), cache_router()
    place = router if included else app

    @place.get("/cached")
    async def cached() -> Annotated[str, Cached(60)]:
        return "read"

    @place.get("/plain")
    async def plain() -> str:
        return "read"

    if included:
        app.include_router(router)
    async with serving(app) as http:
        assert (await http.head("/cached")).status_code == 200
        assert (await http.head("/plain")).status_code == 405
        assert (await http.post("/cached")).status_code == 405
    assert {*app.openapi()["paths"]["/cached"]} == {"get"}


# Representations


async def test_every_media_type_status_and_repeated_header_is_replayed(shop: Shop) -> None:
    async with serving(shop.app) as http:
        miss = await http.get("/bytes")
        hit = await http.get("/bytes")

        assert (miss.content, hit.content) == (bytes(range(256)),) * 2
        assert (hit.status_code, hit.headers["content-type"]) == (203, "image/x-test")
        assert hit.headers.get_list("x-a") == ["1", "2"]
        assert state_of(hit) == "HIT"
        assert not {"set-cookie", "x-hop", "connection"} & set(hit.headers)
        assert "set-cookie" in miss.headers


# Streams


@pytest.mark.parametrize("path", ["/stream", "/file"])
async def test_a_stream_is_stored_when_it_ends(shop: Shop, path: str) -> None:
    async with serving(shop.app) as http:
        miss = await http.get(path)
        hit = await http.get(path)

        assert [state_of(one) for one in (miss, hit)] == ["MISS", "HIT"]
        assert miss.content == hit.content
        assert hit.headers["content-type"] == miss.headers["content-type"]
        assert "max-age=60" in directives_of(miss)


async def test_a_file_is_stored_though_its_client_disconnects_after_the_last_byte(
    tmp_path: Path,
) -> None:
    file = tmp_path / "leaf.txt"
    file.write_bytes(BODY)
    async with serving(Shop(file).app) as http:
        assert await states(http, "/file", "/file") == ["MISS", "HIT"]


async def test_a_stream_that_fails_is_not_stored(shop: Shop) -> None:
    async with serving(shop.app, raise_app_exceptions=False) as http:
        for _ in range(2):
            response = await http.get("/stream?fail=true")
            assert response.content == b"0,1,2,"
        assert len(shop.runs) == 2


async def states_after_a_failed_commit(*, whole: bool) -> list[str | None]:
    """Of two requests, after one whose response a dependency held back."""
    app, failing = caching_app(memory_settings(wait_max=60.0)), [True]

    async def session() -> AsyncIterator[None]:
        yield
        if failing.pop():
            raise RuntimeError("the commit failed")

    @app.get("/answer", dependencies=[Depends(session, scope="function")])
    async def answer() -> Annotated[Response, Cached(60)]:
        return Response(b"01") if whole else StreamingResponse(iter([b"0", b"1"]))

    async with serving(app, raise_app_exceptions=False) as http:
        assert (await http.get("/answer")).status_code == 500
        failing[:] = [False, False]
        async with timeout_at(asyncio.get_running_loop().time() + 15):
            return await states(http, "/answer", "/answer")


scopes = pytest.mark.skipif(
    FASTAPI_VERSION < (0, 121), reason="dependency scopes are FastAPI 0.121's"
)


@scopes
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "stream"])
async def test_a_response_that_a_failing_dependency_held_back_is_not_stored(
    whole: bool,
) -> None:
    assert await states_after_a_failed_commit(whole=whole) == ["MISS", "HIT"]


@scopes
async def test_control_without_withdrawal_an_unsent_response_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "_withdraw_if_unsent", lambda *_: None)

    assert await states_after_a_failed_commit(whole=True) == ["HIT", "HIT"]


async def test_a_stream_passes_unbuffered(shop: Shop) -> None:
    gate = asyncio.Event()

    @shop.app.get("/slow")
    async def slow() -> Annotated[Response, Cached(60)]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await gate.wait()
            yield b"second"

        return StreamingResponse(pieces())

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body") == b"first":
            gate.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with serving(shop.app) as http:
        state = {"type": "http", "method": "GET", "path": "/slow", "raw_path": b"/slow"}
        scope = {**state, "query_string": b"", "headers": [], "app": shop.app, "state": {}}
        await asyncio.wait_for(shop.app(scope, receive, send), 10)
        hit = await http.get("/slow")

    assert [message.get("body") for message in sent] == [None, b"first", b"second", b""]
    assert (state_of(hit), hit.content) == ("HIT", b"firstsecond")


@pytest.mark.parametrize("path", ["/stream?size=500", "/file"])
async def test_a_stream_over_the_limit_is_delivered_whole_and_not_stored(
    tmp_path: Path, path: str
) -> None:
    file = tmp_path / "leaves.txt"
    file.write_bytes(LONG)
    shop = Shop(file, max_body_size=1_000)
    async with serving(shop.app) as http:
        bodies = [(await http.get(path)).content for _ in range(2)]

    assert bodies[0] == bodies[1]
    assert len(bodies[0]) > 1_000
    assert len(shop.runs) == 2


async def test_server_sent_events_are_not_stored(shop: Shop) -> None:
    async with serving(shop.app) as http:
        for _ in range(2):
            assert (await http.get("/events")).content == b"data: 1\n\n"
    assert len(shop.runs) == 2


# Statuses


async def test_a_raised_error_of_the_endpoint_is_stored_where_its_status_is_declared(
    shop: Shop,
) -> None:
    async with serving(shop.app) as http:
        miss = await http.get("/raised/0")
        hit = await http.get("/raised/0")

        assert [one.status_code for one in (miss, hit)] == [404, 404]
        assert [state_of(one) for one in (miss, hit)] == ["MISS", "HIT"]
        assert miss.json() == hit.json() == {"detail": "no such item"}
        assert hit.headers["x-why"] == "gone"
        assert "max-age=10" in directives_of(hit)
        assert len(shop.runs) == 1


async def test_a_raised_error_is_stored_as_the_applications_handler_renders_it(shop: Shop) -> None:
    rendered = Runs()

    @shop.app.exception_handler(HTTPException)
    async def render(request: Request, error: HTTPException) -> Response:
        rendered.note()
        return PlainTextResponse(f"sorry: {error.detail}", error.status_code)

    async with serving(shop.app) as http:
        bodies = [(await http.get("/raised/0")).text for _ in range(2)]

    assert bodies == ["sorry: no such item"] * 2
    assert len(rendered) == 1


async def test_an_error_that_a_dependency_raises_is_never_stored(shop: Shop) -> None:
    async with serving(shop.app) as http:
        refused = [await http.get("/raised/7?refuse=true") for _ in range(2)]
        let_in = await http.get("/raised/7")

        assert [one.status_code for one in refused] == [404, 404]
        assert {state_of(one) for one in refused} == {None}
        assert (let_in.status_code, state_of(let_in)) == (200, "MISS")


async def states_of_an_error_made_by_a_dependency() -> list[tuple[int, str | None]]:
    app = caching_app()

    async def hide() -> AsyncIterator[None]:
        try:
            yield
        except HTTPException as error:
            raise HTTPException(410) from error

    @app.get("/hidden", dependencies=[Depends(hide)])
    async def hidden() -> Annotated[Response, Cached(60, statuses={404: 60, 410: 60})]:
        raise HTTPException(404)

    async with serving(app) as http:
        answers = [await http.get("/hidden") for _ in range(2)]
    return [(one.status_code, state_of(one)) for one in answers]


async def test_an_error_that_a_dependency_makes_of_the_endpoints_is_never_stored() -> None:
    assert await states_of_an_error_made_by_a_dependency() == [(410, None), (410, None)]


@pytest.mark.skipif(FASTAPI_VERSION < (0, 121), reason="older ones clean up within the handler")
async def test_control_without_the_cleanup_check_the_error_of_a_dependency_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def look_away(*_: object) -> bool:
        return False

    monkeypatch.setattr(Reading, "after_cleanup", look_away)

    assert await states_of_an_error_made_by_a_dependency() == [(410, "MISS"), (410, "HIT")]


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("/raised/1", False),
        ("/returned/404", True),
        ("/returned/301", True),
        ("/returned/302", False),
        ("/returned/500", False),
        ("/returned/200", True),
        ("/returned/202", True),
    ],
)
async def test_of_other_statuses_only_declared_ones_are_stored(
    shop: Shop, path: str, stored: bool
) -> None:
    async with serving(shop.app) as http:
        first = await http.get(path)
        again = await http.get(path)

        assert first.status_code == again.status_code
        assert (state_of(again) == "HIT") is stored
        assert first.headers.get("location") == again.headers.get("location")


# Cache-Status


async def test_cache_status_shows_how_the_cache_was_used(shop: Shop) -> None:
    async with serving(shop.app) as http:
        told = [
            status_of(await http.get("/text")),
            status_of(await http.get("/text")),
            status_of(await http.get("/text", headers={"cache-control": "no-cache"})),
            status_of(await http.get("/text", headers={"cache-control": "no-store"})),
            status_of(await http.get("/returned/500")),
            status_of(await http.get("/dated", headers={"cache-control": "only-if-cached"})),
        ]

    assert told[0] == "fwd=uri-miss; stored; ttl=60"
    assert told[1] in ("hit; ttl=59", "hit; ttl=60")
    assert told[2:] == ["fwd=request; stored; ttl=60", "fwd=request", "fwd=uri-miss", ""]


async def test_cache_status_shows_collapsed_requests(shop: Shop) -> None:
    gate = Gate()

    @shop.app.get("/slow")
    async def slow() -> Annotated[str, Cached(60)]:
        await gate.pass_through()
        return "tea"

    async with serving(shop.app) as http:
        leader = asyncio.create_task(http.get("/slow"))
        await gate.reached()
        follower = asyncio.create_task(http.get("/slow"))
        runtime = shop.app.state.redis_fastapi
        for _ in range(5_000):
            if runtime.engine_on(runtime.client)._waiters:
                break
            await asyncio.sleep(0.001)
        gate.open()
        told = [status_of(one) for one in await asyncio.gather(leader, follower)]

    assert told[0] == "fwd=uri-miss; stored; ttl=60"
    assert told[1] in ("fwd=miss; collapsed; ttl=59", "fwd=miss; collapsed; ttl=60")


async def test_cache_status_shows_variants_other_methods_and_an_outage() -> None:
    app = caching_app(memory_settings())

    async def either(language: Annotated[str, Header()] = "") -> str:
        return language

    caching = [Depends(cache(60))]
    app.add_api_route("/either", either, methods=["GET", "POST"], dependencies=caching)
    away = caching_app(memory_settings(url="redis://localhost:1", deadline=0.05))
    away.add_api_route("/either", either, dependencies=caching)
    async with serving(app) as http, serving(away) as without:
        told = [
            status_of(await http.get("/either")),
            status_of(await http.post("/either")),
            status_of(await without.get("/either")),
        ]

    assert told == ["fwd=miss; stored; ttl=60", "fwd=method", "fwd=bypass"]


async def test_cache_status_shows_key_and_reason_in_debug_only(tmp_path: Path) -> None:
    shop = Shop(tmp_path, debug=True)
    async with serving(shop.app) as http:
        miss, hit = await http.get("/text"), await http.get("/text")
        refused = await http.get("/returned/500")

        assert [status_of(one).count("; key=") for one in (miss, hit)] == [1, 1]
        assert status_of(refused).endswith("; detail=status")


async def test_the_reason_not_to_store_is_logged_once_per_route_and_reason(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(shop.app) as http:
        for path in ("/returned/500", "/returned/302", "/events", "/events"):
            await http.get(path)
        await http.get("/part", headers={"range": "bytes=0-3"})

    assert [one for one in caplog.messages if "not stored" in one] == [
        "GET /returned/{status} (returned): not stored (status)",
        "GET /events (events): not stored (unfinished)",
        "GET /part (part): not stored (partial-content)",
    ]


# Request directives


@pytest.mark.parametrize(
    ("directive", "state"),
    [
        pytest.param("no-cache", "MISS", id="9111-5.2.1.4-no-cache"),
        pytest.param("max-age=0", "MISS", id="9111-5.2.1.1-max-age"),
        pytest.param("max-age=3600", "HIT", id="9111-5.2.1.1-max-age-long"),
        pytest.param("min-fresh=3600", "MISS", id="9111-5.2.1.3-min-fresh"),
        pytest.param("no-store", None, id="9111-5.2.1.5-no-store"),
        pytest.param("only-if-cached", "HIT", id="9111-5.2.1.7-only-if-cached"),
    ],
)
async def test_directives_of_the_request_are_obeyed(
    shop: Shop, directive: str, state: str | None
) -> None:
    async with serving(shop.app) as http:
        await http.get("/text")
        response = await http.get("/text", headers={"cache-control": directive})

        assert (response.status_code, state_of(response)) == (200, state)


async def test_only_if_cached_is_504_where_nothing_is_stored_and_runs_nothing(shop: Shop) -> None:
    async with serving(shop.app) as http:
        response = await http.get("/text", headers={"cache-control": "only-if-cached"})

        assert response.status_code == 504
        assert len(shop.runs) == 0
