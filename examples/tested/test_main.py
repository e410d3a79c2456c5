"""What one tests of an application that caches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from redis_fastapi.testing import MemoryCache, assert_bypass, assert_hit, assert_miss

from . import main


@pytest.fixture
def client(redis_cache: MemoryCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of the application on a cache of the test's own."""
    monkeypatch.setattr(main, "forecasts", {"oslo": "snow"})
    redis_cache.install(main.app)
    with TestClient(main.app) as client:
        yield client


def test_a_forecast_is_kept_for_ten_minutes(client: TestClient, redis_cache: MemoryCache) -> None:
    assert_miss(client.get("/forecasts/oslo"))
    redis_cache.advance(599)
    assert_hit(client.get("/forecasts/oslo"))
    redis_cache.advance(1)
    assert_miss(client.get("/forecasts/oslo"))


def test_a_new_forecast_shows_at_once(client: TestClient, redis_cache: MemoryCache) -> None:
    client.get("/forecasts/oslo")

    client.put("/forecasts/oslo", params={"weather": "fog"})

    redis_cache.assert_evicted(group="forecasts")
    assert client.get("/forecasts/oslo").json() == "fog"


def test_a_town_that_was_unknown_is_not_remembered_as_such(client: TestClient) -> None:
    assert client.get("/forecasts/atlantis").status_code == 404

    client.put("/forecasts/atlantis", params={"weather": "wet"})

    assert client.get("/forecasts/atlantis").json() == "wet"


def test_forecasts_are_served_while_redis_is_away(
    client: TestClient, redis_cache: MemoryCache
) -> None:
    with redis_cache.outage():
        answer = client.get("/forecasts/oslo")
    assert_bypass(answer)
    assert answer.json() == "snow"
