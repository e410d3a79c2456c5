"""The examples, used as their readers would. The shop has its own tests, and so has ``tested``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import cdn.main
import members.main
from redis_fastapi.testing import MemoryCache, assert_hit, assert_miss
from support import state_of


def signed_in(client: TestClient, user: str, path: str) -> Any:
    return client.get(path, headers={"Authorization": f"Bearer {user}"})


@pytest.fixture
def members_client(redis_cache: MemoryCache) -> Iterator[TestClient]:
    members.main.NOTES.clear()
    redis_cache.install(members.main.app)
    with TestClient(members.main.app) as client:
        yield client


def test_each_user_has_notes_of_their_own(members_client: TestClient) -> None:
    for user in ("ada", "grace"):
        assert_miss(signed_in(members_client, user, "/notes"))

    token = {"Authorization": "Bearer ada"}
    members_client.post("/notes", params={"text": "buy tea"}, headers=token)

    assert signed_in(members_client, "ada", "/notes").json() == ["buy tea"]
    assert_hit(signed_in(members_client, "grace", "/notes"))


@pytest.mark.parametrize(
    ("path", "grace", "linus"), [("/team", "HIT", "MISS"), ("/handbook", "HIT", "HIT")]
)
def test_members_share_by_team_or_all_together(
    members_client: TestClient, path: str, grace: str, linus: str
) -> None:
    assert_miss(signed_in(members_client, "ada", path))

    assert state_of(signed_in(members_client, "grace", path)) == grace
    assert state_of(signed_in(members_client, "linus", path)) == linus
    for refused in (members_client.get(path), signed_in(members_client, "eve", path)):
        assert refused.status_code in (401, 403)


class TinyCDN:
    """Keeps responses with ``s-maxage`` by path, and purges them by surrogate key."""

    def __init__(self, origin: TestClient) -> None:
        self._origin = origin
        self._kept: dict[str, httpx.Response] = {}

    def get(self, path: str) -> tuple[str, Any]:
        """Who responded, and what."""
        if path in self._kept:
            return "cdn", self._kept[path].json()
        answer = self._origin.get(path)
        if "s-maxage" in answer.headers["cache-control"]:
            self._kept[path] = answer
        return "origin", answer.json()

    async def purge(self, key: str) -> None:
        """Drop every response that carries a key."""
        for path, answer in list(self._kept.items()):
            if key in answer.headers["surrogate-key"].split():
                del self._kept[path]


def test_a_cdn_drops_what_a_write_names_and_nothing_else(
    redis_cache: MemoryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = cdn.main.app
    monkeypatch.setitem(cdn.main.PRICES, 1, 1250)
    redis_cache.install(app)
    with TestClient(app) as origin:
        front = TinyCDN(origin)
        monkeypatch.setitem(app.dependency_overrides, cdn.main.get_purge, lambda: front.purge)
        for path in ("/teas/1", "/teas/2"):
            assert [front.get(path)[0] for _ in range(2)] == ["origin", "cdn"]

        origin.put("/teas/1", params={"price": 1100})

        assert front.get("/teas/1") == ("origin", 1100)
        assert front.get("/teas/2") == ("cdn", 790)


def test_prometheus_gets_hits_and_misses_by_route(redis_cache: MemoryCache) -> None:
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="no exporter for Prometheus")
    app: FastAPI = import_module("observed.main").app
    redis_cache.install(app)
    with TestClient(app) as client:
        for _ in range(3):
            client.get("/teas/1")
        page = client.get("/metrics/").text

    counted = [line for line in page.splitlines() if "_requests_total{" in line]
    for state, requests in (("hit", 2), ("miss", 1)):
        (line,) = [line for line in counted if f'cache_state="{state}"' in line]
        assert 'http_route="/teas/{tea_id}"' in line
        assert float(line.rsplit(" ", 1)[1]) == requests


@pytest.mark.parametrize("step", ["step1", "step2", "step3"])
def test_every_step_of_a_migration_serves_the_same(redis_cache: MemoryCache, step: str) -> None:
    app: FastAPI = import_module(f"migrating.{step}").app
    redis_cache.install(app)
    with TestClient(app) as client:
        for path in ("/teas", "/teas/1", "/teas/2"):
            assert_miss(client.get(path))

        client.put("/teas/1", params={"name": "Oolong"})
        put = client.get("/teas/1")
        client.delete("/teas/2")

        assert_hit(put)
        assert put.json() == "Oolong"
        assert_miss(client.get("/teas"))
        assert client.get("/teas").json() == {"1": "Oolong"}
