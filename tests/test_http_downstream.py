"""What caches and clients downstream receive, and how compression on the way changes it."""

import gzip
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, Response
from fastapi.responses import PlainTextResponse
from starlette.middleware.gzip import GZipMiddleware

from apps import caching_app, memory_settings, serving, state_of
from redis_fastapi import Cached, CachePut
from support import Runs, directives_of

TEXT = b"tea leaves " * 200


def app_with(marker: Cached, own: dict[str, str] | None = None, **settings: Any) -> FastAPI:
    """An application with one read."""
    app = caching_app(memory_settings(**settings))

    @app.get("/read/{name}")
    async def read(name: str, status: int = 200) -> Annotated[Response, marker]:
        return PlainTextResponse(TEXT, status, headers=own)

    return app


# Cache-Control (RFC 9111 section 5.2.2, RFC 8246, RFC 9213)


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        pytest.param(Cached(60), {"max-age=60"}, id="9111-5.2.2.1-max-age"),
        pytest.param(
            Cached(60, cdn_ttl=timedelta(hours=1)),
            {"max-age=60", "s-maxage=3600"},
            id="9111-5.2.2.10-s-maxage",
        ),
        pytest.param(
            Cached(60, immutable=True), {"max-age=60", "immutable"}, id="8246-2-immutable"
        ),
        pytest.param(
            Cached(60, directives=("must-revalidate", "no-transform")),
            {"max-age=60", "must-revalidate", "no-transform"},
            id="9111-5.2.3-extra",
        ),
        pytest.param(
            Cached(60, private=True), {"max-age=60", "private"}, id="9111-5.2.2.7-private"
        ),
        pytest.param(Cached(), {"no-cache"}, id="9111-5.2.2.4-without-ttl"),
    ],
)
async def test_cache_control_follows_the_marker(marker: Cached, expected: set[str]) -> None:
    async with serving(app_with(marker)) as http:
        for _ in range(2):
            assert directives_of(await http.get("/read/a")) == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"cache-control": "max-age=5, stale-if-error=9"}, {"max-age=5", "stale-if-error=9"}),
        ({"cache-control": "public"}, {"public"}),
        ({"expires": "Wed, 01 Jan 2099 00:00:00 GMT"}, set()),
    ],
)
async def test_the_endpoints_own_cache_control_is_kept(
    own: dict[str, str], expected: set[str]
) -> None:
    marker = Cached(60, cdn_ttl=600, immutable=True, directives="no-transform")
    async with serving(app_with(marker, own)) as http:
        for _ in range(2):
            response = await http.get("/read/a")
            assert directives_of(response) == expected
            assert "cdn-cache-control" not in response.headers


async def test_a_cdn_gets_its_own_lifetime() -> None:
    async with serving(app_with(Cached(60, cdn_ttl=600, statuses={404: 5}))) as http:
        for _ in range(2):
            assert (await http.get("/read/a")).headers["cdn-cache-control"] == "max-age=600"
            missing = await http.get("/read/b?status=404")
            assert directives_of(missing) == {"max-age=5"}
            assert "cdn-cache-control" not in missing.headers


async def test_age_on_a_hit_includes_the_age_of_the_stored_response() -> None:
    async with serving(app_with(Cached(60), {"age": "7"})) as http:
        await http.get("/read/a")
        hit = await http.get("/read/a")

        assert (state_of(hit), hit.headers["age"]) == ("HIT", "7")


# Surrogate keys


@pytest.mark.parametrize(
    ("header", "expected"),
    [("Surrogate-Key", "things thing:a%20b%2Cc"), ("Cache-Tag", "things,thing:a%20b%2Cc")],
)
async def test_groups_are_sent_to_a_cdn_by_setting(header: Any, expected: str) -> None:
    marker = Cached(60, group=("things", "thing:{name}"))
    async with serving(app_with(marker, surrogate_header=header)) as http:
        told = [(await http.get("/read/a b,c")).headers[header] for _ in range(2)]

    assert told == [expected] * 2


async def test_groups_of_private_responses_are_not_sent() -> None:
    marker = Cached(60, group="things", private=True)
    async with serving(app_with(marker, surrogate_header="Cache-Tag")) as http:
        assert "cache-tag" not in (await http.get("/read/a")).headers


async def test_without_the_setting_no_group_is_sent() -> None:
    async with serving(app_with(Cached(60, group="things"))) as http:
        assert not {"cache-tag", "surrogate-key"} & set((await http.get("/read/a")).headers)


async def test_an_entry_of_a_put_sends_its_groups_too() -> None:
    app = caching_app(memory_settings(surrogate_header="Cache-Tag"))

    @app.get("/thing/{name}")
    async def get(name: str) -> Annotated[str, Cached(60, group="thing:{name}")]:
        return "old"

    @app.put("/thing/{name}")
    async def put(name: str) -> Annotated[str, CachePut()]:
        return "new"

    async with serving(app) as http:
        await http.put("/thing/a")
        hit = await http.get("/thing/a")

        assert (state_of(hit), hit.headers["cache-tag"]) == ("HIT", "thing:a")


# Compression on the way


async def test_a_compressing_middleware_outside_sees_the_plain_body() -> None:
    app = app_with(Cached(60))
    app.add_middleware(GZipMiddleware)
    async with serving(app) as http:
        for _ in range(2):
            for encoding in ("gzip", "identity"):
                response = await http.get("/read/a", headers={"accept-encoding": encoding})
                assert response.content == TEXT
                assert response.headers.get("content-encoding", "identity") == encoding
        etag = response.headers["etag"]
        headers = {"accept-encoding": "gzip", "if-none-match": etag}
        assert (await http.get("/read/a", headers=headers)).status_code == 304
        head = await http.head("/read/a", headers={"accept-encoding": "gzip"})
        assert (head.status_code, head.content) == (200, b"")


async def test_no_part_is_compressed_by_a_middleware_outside() -> None:
    app = app_with(Cached(60))
    app.add_middleware(GZipMiddleware)
    asked = {"range": "bytes=0-999"}
    async with serving(app) as http:
        whole = await http.get("/read/a", headers={**asked, "accept-encoding": "gzip"})
        del http.headers["accept-encoding"]
        part = await http.get("/read/a", headers=asked)

        assert (whole.status_code, whole.content) == (200, TEXT)
        assert (part.status_code, part.content) == (206, TEXT[:1000])


async def test_an_encoded_response_is_only_sent_to_clients_that_accept_it() -> None:
    app, runs = caching_app(), Runs()

    @app.get("/packed")
    async def packed(
        accept_encoding: Annotated[str, Header()] = "",
    ) -> Annotated[Response, Cached(60)]:
        runs.note()
        if "gzip" not in accept_encoding:
            return PlainTextResponse(TEXT)
        return PlainTextResponse(gzip.compress(TEXT), headers={"content-encoding": "gzip"})

    @app.get("/always")
    async def always() -> Annotated[Response, Cached(60)]:
        runs.note()
        return PlainTextResponse(gzip.compress(TEXT), headers={"content-encoding": "gzip"})

    async with serving(app) as http:
        for _ in range(2):
            for encoding in ("gzip", "identity"):
                response = await http.get("/packed", headers={"accept-encoding": encoding})
                assert response.content == TEXT
                assert response.headers["vary"] == "accept-encoding"
                assert response.headers.get("content-encoding", "identity") == encoding
        assert len(runs) == 2

        await http.get("/always", headers={"accept-encoding": "gzip"})
        plain = await http.get("/always", headers={"accept-encoding": "identity"})
        assert state_of(plain) == "MISS"
        assert len(runs) == 4
