"""Variants selected by a response's own Vary: each client gets its own, evictions reach all."""

import asyncio
import random
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Request, Response
from fastapi.testclient import TestClient

from apps import caching_app, serving, state_of
from redis_fastapi import Cached, CacheEvict, CachePut, RedisSettings
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest, path_name
from redis_fastapi._redis.transport import timeout_at
from redis_fastapi._serving.variants import matches, selection, variant_of
from redis_fastapi.testing import MemoryCache

TTL = 60


class Greeter:
    """An application whose response sets Vary itself, without a declaration."""

    def __init__(self, names: str = "accept-language", **options: Any) -> None:
        self.app = caching_app()
        self.names = names
        self.word = "hello"
        self.runs = 0
        self.fails = self.put_varies = False
        marker = Cached(TTL, group="words", shared=True, **options)

        @self.app.get("/word")
        async def get_word(request: Request) -> Annotated[Response, marker]:
            self.runs += 1
            if self.fails:
                raise RuntimeError("the dictionary is away")
            read = [request.headers.get(name.strip(), "") for name in self.names.split(",")]
            text = ":".join([self.word, *read])
            return Response(text, headers={"vary": self.names})

        @self.app.put("/word")
        async def put_word() -> Annotated[Response, CachePut(group="words")]:
            return Response(self.word, headers={"vary": self.names} if self.put_varies else None)

        @self.app.delete("/word")
        async def evict_path() -> Annotated[None, CacheEvict(key="/word")]: ...

        @self.app.delete("/words")
        async def evict_group() -> Annotated[None, CacheEvict(group="words")]: ...

        @self.app.delete("/soft")
        async def evict_softly() -> Annotated[None, CacheEvict(key="/word", soft=True)]: ...


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
def client(greeter: Greeter) -> Iterator[TestClient]:
    with MemoryCache(greeter.app), TestClient(greeter.app) as client:
        yield client


def said(client: TestClient, language: str, **headers: str) -> tuple[str | None, str]:
    answer = client.get("/word", headers={"accept-language": language, **headers})
    return state_of(answer), answer.text


LANGUAGES = ["de", "fr", "en", "it", "es"]


def test_each_client_gets_the_variant_of_its_own_headers(client: TestClient) -> None:
    first = [said(client, one) for one in LANGUAGES]
    again = [said(client, one) for one in LANGUAGES]
    assert first == [("MISS", f"hello:{one}") for one in LANGUAGES]
    assert again == [("HIT", f"hello:{one}") for one in LANGUAGES]


def test_values_that_mean_the_same_share_a_variant(client: TestClient) -> None:
    said(client, "de, fr")
    assert said(client, "DE,fr")[0] == "HIT"


def test_a_missing_variant_of_a_known_resource_is_a_vary_miss(client: TestClient) -> None:
    said(client, "de")
    answer = client.get("/word", headers={"accept-language": "fr"})
    assert answer.headers["cache-status"].startswith("redis-fastapi; fwd=vary-miss; stored")
    assert answer.headers["vary"] == "accept-language"
    assert "x-redis-fastapi-selected" not in answer.headers
    hit = client.get("/word", headers={"accept-language": "fr"})
    assert "x-redis-fastapi-selected" not in hit.headers


@pytest.mark.parametrize("path", ["/word", "/words"])
def test_an_eviction_reaches_every_variant(greeter: Greeter, client: TestClient, path: str) -> None:
    for one in LANGUAGES:
        said(client, one)
    greeter.word = "bye"
    client.delete(path)
    assert [said(client, one) for one in LANGUAGES] == [("MISS", f"bye:{one}") for one in LANGUAGES]


def test_a_put_evicts_every_variant(greeter: Greeter, client: TestClient) -> None:
    for one in LANGUAGES:
        said(client, one)
    greeter.word = "bye"
    client.put("/word")
    assert all("hello" not in said(client, one)[1] for one in LANGUAGES)
    client.delete("/words")
    assert all("hello" not in said(client, one)[1] for one in LANGUAGES)


def test_header_names_added_to_vary_later_select_as_well(
    greeter: Greeter, client: TestClient
) -> None:
    said(client, "de")
    greeter.names = "accept-language, x-tone"
    answers = [said(client, "fr", **{"x-tone": tone}) for tone in ("kind", "rude", "kind")]
    assert answers == [
        ("MISS", "hello:fr:kind"),
        ("MISS", "hello:fr:rude"),
        ("HIT", "hello:fr:kind"),
    ]
    assert said(client, "de") == ("HIT", "hello:de")


def test_vary_star_is_not_stored(greeter: Greeter, client: TestClient) -> None:
    greeter.names = "*"
    for _ in range(2):
        said(client, "de")
    assert greeter.runs == 2


def test_a_client_that_wants_no_cache_replaces_its_own_variant_only(
    greeter: Greeter, client: TestClient
) -> None:
    for one in ("de", "fr"):
        said(client, one)
    greeter.word = "bye"
    said(client, "fr", **{"cache-control": "no-cache"})
    assert said(client, "fr") == ("HIT", "bye:fr")
    assert said(client, "de") == ("HIT", "hello:de")


def test_only_if_cached_finds_the_variant(client: TestClient) -> None:
    for one in ("de", "fr"):
        said(client, one)
    only = {"cache-control": "only-if-cached"}
    assert said(client, "fr", **only) == ("HIT", "hello:fr")
    assert client.get("/word", headers={"accept-language": "it", **only}).status_code == 504


def test_a_stale_variant_is_refreshed_as_itself() -> None:
    greeter = Greeter(stale_while_revalidate=30)
    with MemoryCache(greeter.app), TestClient(greeter.app) as client:
        for one in ("de", "fr"):
            said(client, one)
        greeter.word = "bye"
        client.delete("/soft")
        assert said(client, "fr") == ("STALE", "hello:fr")
        assert said(client, "fr") == ("HIT", "bye:fr")
        assert said(client, "de") == ("STALE", "hello:de")


def test_only_its_own_variant_replaces_an_error() -> None:
    greeter = Greeter(stale_if_error=30)
    with (
        MemoryCache(greeter.app) as memory,
        TestClient(greeter.app, raise_server_exceptions=False) as client,
    ):
        said(client, "de")
        memory.advance(TTL + 5)
        greeter.fails = True
        assert said(client, "fr")[0] is None
        assert said(client, "de") == ("STALE", "hello:de")


def test_a_client_cannot_create_more_variants_than_the_limit() -> None:
    numbers = random.Random(1)
    entry = entry_for("de")
    base = Target(digest(["/word"]), (EPOCH,), b"shape--1")
    asked = [[(b"accept-language", numbers.randbytes(8).hex().encode())] for _ in range(5_000)]
    assert len({variant_of(base, entry, one).entry for one in asked}) <= 256


VARIES = ((b"vary", b"accept-language"),)


def entry_for(language: str) -> Entry:
    selected = selection(VARIES, (), [(b"accept-language", language.encode())])
    return Entry(200, (*VARIES, *selected), b"", 0, 0)


def test_variants_that_share_a_key_never_serve_each_other() -> None:
    entry = entry_for("de")
    assert matches(entry, [(b"accept-language", b"de")])
    assert not matches(entry, [(b"accept-language", b"fr")])
    assert not matches(entry, [])


def test_a_variant_belongs_to_the_generation_of_its_path() -> None:
    entry, request = entry_for("de"), [(b"accept-language", b"fr")]
    resource = "/word"
    plain = Target(digest([resource]), (EPOCH,), b"shape--1")
    selected = Target(digest([resource, "q"]), (EPOCH, path_name(resource)), b"shape--1")
    assert variant_of(plain, entry, request).generations == (EPOCH, path_name(resource))
    assert variant_of(selected, entry, request).generations == selected.generations


def test_headers_in_the_key_select_already() -> None:
    assert selection(VARIES, ("accept-language",), []) == ()


async def test_a_cookie_in_the_key_does_not_stand_for_all_of_them() -> None:
    app = caching_app()

    @app.get("/basket")
    async def basket(
        request: Request, theme: Annotated[str, Cookie()]
    ) -> Annotated[Response, Cached(TTL, shared=True)]:
        return Response(request.cookies["session"], headers={"vary": "cookie"})

    async with serving(app) as http:
        texts = [
            (await http.get("/basket", headers={"cookie": f"theme=dark; session={one}"})).text
            for one in ("a", "b", "a")
        ]
    assert texts == ["a", "b", "a"]


LANGUAGE: ContextVar[str] = ContextVar("language")


async def test_a_kept_variant_is_sent_to_matching_requests_only(redis_url: str) -> None:
    app = caching_app(RedisSettings(url=redis_url, deadline=5.0))

    @app.middleware("http")
    async def hear_language(request: Request, call_next: Any) -> Any:
        LANGUAGE.set(request.headers["accept-language"])
        return await call_next(request)

    @app.get("/kept")
    async def kept() -> Annotated[Response, Cached(TTL, local=True)]:
        return Response(LANGUAGE.get(), headers={"vary": "accept-language"})

    async with serving(app) as http:
        runtime = app.state.redis_fastapi
        tier = runtime.engine_on(runtime.client)._local
        async with timeout_at(asyncio.get_running_loop().time() + 15):
            # until Redis tells of changes nothing is kept
            while not len(tier):
                await asyncio.sleep(0.01)
                await http.get("/kept", headers={"accept-language": "de"})
        texts = [
            (await http.get("/kept", headers={"accept-language": one})).text
            for one in ("de", "fr", "de", "fr")
        ]
    assert texts == ["de", "fr", "de", "fr"]


def test_a_put_that_varies_evicts_instead(greeter: Greeter, client: TestClient) -> None:
    greeter.put_varies = True
    for one in ("de", "fr"):
        said(client, one)
    greeter.word = "bye"
    client.put("/word")
    assert [said(client, one) for one in ("de", "fr")] == [("MISS", "bye:de"), ("MISS", "bye:fr")]
