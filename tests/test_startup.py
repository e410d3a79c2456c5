"""What is logged once after start-up, which neither waits for it nor fails because of it."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import FastAPI

from redis_fastapi import Cached, FastAPIRedis, RedisSettings
from redis_fastapi._app.runtime import STATE, Runtime
from redis_fastapi._app.startup import memory_warning, rights_warning, workers_of
from redis_fastapi._redis.server import Memory
from redis_fastapi.testing import MemoryCache
from servers import RedisServer, redis_server_available


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A server whose settings and users a test may change."""
    if reason := redis_server_available():
        pytest.skip(reason)
    with RedisServer() as server:
        yield server


def app_on(url: str | None, *, ttl: int | None = None, **settings: Any) -> FastAPI:
    app = FastAPI()
    FastAPIRedis(app, RedisSettings(url=url, **{"deadline": 5.0, **settings})).lifespan().caching()

    @app.get("/page")
    async def page() -> Annotated[int, Cached(ttl)]:
        return 1

    return app


def runtime_of(app: FastAPI) -> Runtime:
    runtime: Runtime = getattr(app.state, STATE)
    return runtime


async def said_at_start(app: FastAPI, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a start logs, once its checks have ended."""
    with caplog.at_level(logging.WARNING, logger="redis_fastapi"):
        async with app.router.lifespan_context(app):
            checking = runtime_of(app).checking
            if checking is not None:
                await asyncio.wait_for(checking, 30)
    return [record.getMessage() for record in caplog.records]


# Memory


@pytest.mark.parametrize(
    ("maxmemory", "policy", "words"),
    [
        ("0", "allkeys-lru", "has no maxmemory"),
        ("100mb", "noeviction", "maxmemory-policy noeviction"),
        ("100mb", "volatile-ttl", None),
        ("100mb", "allkeys-lru", None),
    ],
)
async def test_entries_without_a_ttl_need_a_memory_policy_that_evicts_them(
    own_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    maxmemory: str,
    policy: str,
    words: str | None,
) -> None:
    own_server.command("CONFIG", "SET", "maxmemory", maxmemory, "maxmemory-policy", policy)

    said = await said_at_start(app_on(own_server.url), caplog)

    assert len(said) == (words is not None)
    if words:
        assert words in said[0]
        assert "GET /page (page)" in said[0]


async def test_entries_with_a_ttl_need_no_memory_policy(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await said_at_start(app_on(redis_url, ttl=60), caplog) == []
    assert await said_at_start(app_on(redis_url, default_ttl=60), caplog) == []


def test_a_line_names_three_routes_and_counts_the_others() -> None:
    (line,) = memory_warning(Memory(0, 0, "noeviction"), ["a", "b", "c", "d", "e"])

    assert "entries of a, b, c, 2 more have no ttl" in line


# Rights


async def test_missing_rights_are_named_in_a_warning(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rights = ("~fastapi:*", "+@all", "-mget", "-info")
    own_server.command("ACL", "SETUSER", "reader", "on", ">secret", *rights)
    url = own_server.url.replace("redis://", "redis://reader:secret@")

    (line,) = await said_at_start(app_on(url, ttl=60), caplog)

    assert "does not permit MGET to this user" in line
    assert line.endswith("Allow ~fastapi:* +mget")
    assert "secret" not in line


def test_a_user_with_all_rights_gets_no_warning() -> None:
    assert list(rights_warning({}, "fastapi")) == []


# A server that is away


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"url": "redis://127.0.0.1:1"}, "Redis at redis://127.0.0.1:1"),
        ({"url": "redis://127.0.0.1:1", "cluster": True}, "Redis Cluster at redis://127.0.0.1:1"),
        (
            {"url": None, "sentinel": True, "sentinel_nodes": "127.0.0.1:1"},
            "Redis at sentinel://127.0.0.1:1/mymaster",
        ),
    ],
    ids=["server", "cluster", "sentinel"],
)
async def test_an_unreachable_server_is_one_line_and_the_start_succeeds(
    where: dict[str, Any], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_on(**where, stats_interval=60)

    (line,) = await said_at_start(app, caplog)

    assert line.startswith(f"{place} is away, endpoints run without it")


async def test_no_start_waits_for_a_server_that_hangs(own_server: RedisServer) -> None:
    app = app_on(own_server.url)
    own_server.pause()
    try:
        async with app.router.lifespan_context(app):
            checking = runtime_of(app).checking
            assert checking is not None
            assert not checking.done()
        assert checking.cancelled()
    finally:
        own_server.resume()


@pytest.mark.parametrize("switch", ["startup_checks", "enabled"])
async def test_switched_off_start_up_checks_nothing(switch: str) -> None:
    app = app_on("redis://127.0.0.1:1", **{switch: False})

    async with app.router.lifespan_context(app):
        assert runtime_of(app).checking is None


async def test_under_test_start_up_checks_nothing() -> None:
    app = app_on("redis://127.0.0.1:1")

    with MemoryCache(app):
        async with app.router.lifespan_context(app):
            assert runtime_of(app).checking is None


# Several workers


@pytest.mark.parametrize(
    ("argv", "environ", "workers"),
    [
        (["uvicorn", "main:app", "--workers", "4"], {}, 4),
        (["uvicorn", "main:app", "--workers=4"], {}, 4),
        (["gunicorn", "-w", "2", "main:app"], {}, 2),
        (["gunicorn", "-w3", "main:app"], {}, 3),
        (["uvicorn", "main:app", "--workers", "1"], {"WEB_CONCURRENCY": "4"}, 1),
        (["uvicorn", "main:app"], {"WEB_CONCURRENCY": "4"}, 4),
        (["uvicorn", "main:app"], {}, 1),
        (["python"], {"WEB_CONCURRENCY": "many"}, 1),
    ],
)
def test_the_number_of_workers_is_read_from_the_server(
    argv: list[str], environ: dict[str, str], workers: int
) -> None:
    assert workers_of(argv, environ) == workers


async def test_memory_in_several_workers_is_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    *_, line = await said_at_start(app_on("memory://"), caplog)

    assert line.startswith("memory:// with 4 workers: each has a cache of its own")
