"""The example shop, used as its customers and its staff would."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from redis_fastapi import get_settings
from servers import LOOPBACK, free_port
from shop.main import app

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0

ADA = {"Authorization": "Bearer ada-token"}
GRACE = {"Authorization": "Bearer grace-token"}
STAFF = {"Authorization": "Bearer staff-token"}
YIRGACHEFFE = {"name": "Yirgacheffe", "category": "beans", "price": 1290, "description": "Floral."}


@pytest.fixture(params=["memory", "redis"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A shop that opened this minute, on the embedded Redis and on a real one."""
    memory = request.param == "memory"
    url = "memory://" if memory else request.getfixturevalue("redis_url")
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.sqlite3"))
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    with TestClient(app) as client:
        yield client
    get_settings.cache_clear()


def get(shop: TestClient, path: str, state: str | None, **options: Any) -> Any:
    """The JSON of a GET whose response must have this ``state``."""
    response = shop.get(path, **options)
    assert response.status_code == 200, response.text
    assert response.headers.get("x-redis-cache") == state
    return response.json()


def warm(shop: TestClient, path: str, **options: Any) -> Any:
    """The JSON of a GET that is served from the cache from now on."""
    assert shop.get(path, **options).status_code == 200
    return get(shop, path, "HIT", **options)


def test_the_second_visit_is_a_hit_with_the_same_body(shop: TestClient) -> None:
    first, second = shop.get("/products/1"), shop.get("/products/1")

    assert first.headers["x-redis-cache"] == "MISS"
    assert second.headers["x-redis-cache"] == "HIT"
    assert (
        second.json()
        == first.json()
        == {
            "id": 1,
            "name": "Yirgacheffe",
            "category": "beans",
            "price": 1490,
            "description": "Washed, from Ethiopia; jasmine and lemon. 250 g.",
            "stock": 40,
        }
    )
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["cache-control"] == first.headers["cache-control"] == "max-age=300"
    assert "age" in second.headers
    assert "age" not in first.headers


def test_a_client_with_the_current_page_gets_304(shop: TestClient) -> None:
    etag = shop.get("/products/1").headers["etag"]

    again = shop.get("/products/1", headers={"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")


def test_each_search_has_its_own_entry(shop: TestClient) -> None:
    grinders = warm(shop, "/products?search=grinder")
    cheap = get(shop, "/products?search=grinder&max_price=8900", "MISS")

    assert sorted(prices(grinders)) == [5900, 8900, 19900, 34900]
    assert sorted(prices(cheap)) == [5900, 8900]
    assert get(shop, "/products?max_price=8900&search=grinder&utm_source=mail", "HIT") == cheap


def test_a_search_that_finds_nothing_is_not_stored(shop: TestClient) -> None:
    assert get(shop, "/products?search=samovar", "MISS") == []

    samovar = {"name": "Samovar", "category": "brewers", "price": 19900}
    assert shop.post("/products", json=samovar, headers=STAFF).status_code == 201

    (line,) = get(shop, "/products?search=samovar", "MISS")
    assert line["price"] == 19900


def test_a_price_that_staff_edits_shows_at_once_and_everywhere(shop: TestClient) -> None:
    pages = ["/products", "/categories/beans", "/categories"]
    for path in ("/products/1", *pages):
        warm(shop, path)
    warm(shop, "/basket", headers=ADA)

    written = shop.put("/products/1", json=YIRGACHEFFE, headers=STAFF)

    assert get(shop, "/products/1", "HIT") == written.json()
    assert written.json()["price"] == 1290
    for path in pages[:2]:
        assert 1290 in prices(get(shop, path, "MISS"))
        assert 1490 not in prices(get(shop, path, "HIT"))
    assert get(shop, "/basket", "MISS", headers=ADA)["total"] == 2 * 1290
    get(shop, "/categories", "MISS")


def prices(page: Any) -> list[int]:
    lines = page["products"] if isinstance(page, dict) else page
    return [line["price"] for line in lines]


def test_an_edit_that_is_refused_evicts_nothing(shop: TestClient) -> None:
    warm(shop, "/products/1")
    warm(shop, "/products")

    taken = shop.put("/products/1", json={**YIRGACHEFFE, "name": "Sencha"}, headers=STAFF)
    unknown = shop.put("/products/999", json=YIRGACHEFFE, headers=STAFF)
    by_a_customer = shop.put("/products/1", json=YIRGACHEFFE, headers=ADA)

    assert (taken.status_code, unknown.status_code) == (409, 404)
    assert by_a_customer.status_code == 403
    assert get(shop, "/products/1", "HIT")["price"] == 1490
    get(shop, "/products", "HIT")


def test_a_counted_stock_changes_the_page_and_not_the_lists(shop: TestClient) -> None:
    for path in ("/products/1", "/products/2", "/products"):
        warm(shop, path)

    assert shop.patch("/products/1/stock", json={"stock": 3}, headers=STAFF).status_code == 200

    assert get(shop, "/products/1", "MISS")["stock"] == 3
    get(shop, "/products/2", "HIT")
    get(shop, "/products", "HIT")


def test_a_deleted_product_is_gone_from_page_list_and_basket(shop: TestClient) -> None:
    for path in ("/products/1", "/products/2", "/categories/beans"):
        warm(shop, path)
    warm(shop, "/basket", headers=ADA)

    assert shop.delete("/products/1", headers=STAFF).status_code == 204

    assert shop.get("/products/1").status_code == 404
    names = [line["name"] for line in get(shop, "/categories/beans", "MISS")["products"]]
    assert "Yirgacheffe" not in names
    assert get(shop, "/basket", "MISS", headers=ADA)["items"] == []
    get(shop, "/products/2", "HIT")


def test_a_renamed_category_leaves_the_other_pages_cached(shop: TestClient) -> None:
    for path in ("/categories", "/categories/tea", "/categories/cups"):
        warm(shop, path)

    shop.put("/categories/tea", json={"title": "Tea and herbs"}, headers=STAFF)

    assert get(shop, "/categories/tea", "MISS")["title"] == "Tea and herbs"
    titles = [category["title"] for category in get(shop, "/categories", "MISS")]
    assert "Tea and herbs" in titles
    get(shop, "/categories/cups", "HIT")


def test_a_sale_changes_every_page_that_shows_a_price(shop: TestClient) -> None:
    warm(shop, "/products/8")
    warm(shop, "/categories/tea")
    warm(shop, "/basket", headers=GRACE)
    warm(shop, "/offers", headers=GRACE)

    assert shop.post("/categories/tea/sale?percent=50", headers=STAFF).status_code == 200

    assert get(shop, "/products/8", "MISS")["price"] == 625
    assert max(prices(get(shop, "/categories/tea", "MISS"))) == 945
    assert get(shop, "/basket", "MISS", headers=GRACE)["total"] == 625 + 2 * 3200
    offers = get(shop, "/offers", "MISS", headers=GRACE)
    assert {offer["category"]: offer["price"] for offer in offers}["tea"] == 945


def test_two_users_never_see_each_others_basket(shop: TestClient) -> None:
    for headers, owner in ((ADA, "ada"), (GRACE, "grace")):
        assert warm(shop, "/basket", headers=headers)["owner"] == owner

    shop.put("/basket/2", json={"quantity": 5}, headers=ADA)

    assert len(get(shop, "/basket", "MISS", headers=ADA)["items"]) == 2
    theirs = get(shop, "/basket", "HIT", headers=GRACE)
    assert theirs["owner"] == "grace"
    assert [item["product"]["name"] for item in theirs["items"]] == ["Sencha", "Tea bowl"]


def test_a_removed_product_is_gone_from_the_next_response(shop: TestClient) -> None:
    warm(shop, "/basket", headers=ADA)

    emptied = shop.delete("/basket/1", headers=ADA).json()

    assert get(shop, "/basket", "MISS", headers=ADA) == emptied
    assert emptied == {"owner": "ada", "items": [], "total": 0}


def test_an_unknown_product_cannot_be_put_into_a_basket(shop: TestClient) -> None:
    warm(shop, "/basket", headers=ADA)

    assert shop.put("/basket/999", json={"quantity": 1}, headers=ADA).status_code == 404
    assert shop.put("/basket/1", json={"quantity": 0}, headers=ADA).status_code == 422

    get(shop, "/basket", "HIT", headers=ADA)


@pytest.mark.parametrize("path", ["/basket", "/offers"])
def test_without_credentials_a_cached_page_is_a_401(shop: TestClient, path: str) -> None:
    warm(shop, path, headers=ADA)

    for headers in ({}, {"Authorization": "Bearer guessed"}, {"Authorization": "Basic YWRh"}):
        refused = shop.get(path, headers=headers)
        assert refused.status_code == 401
        assert "x-redis-cache" not in refused.headers

    assert "private" in shop.get(path, headers=ADA).headers["cache-control"]


def test_members_share_one_entry_of_the_offers(shop: TestClient) -> None:
    offers = get(shop, "/offers", "MISS", headers=ADA)

    assert get(shop, "/offers", "HIT", headers=GRACE) == offers


def test_the_report_is_computed_anew_only_after_a_change_of_the_stock(
    shop: TestClient, tmp_path: Path
) -> None:
    before = shop.get("/report", headers=STAFF).json()
    write_behind_the_shop(tmp_path)
    assert shop.get("/report", headers=STAFF).json() == before

    shop.patch("/products/8/stock", json={"stock": 0}, headers=STAFF)

    after = shop.get("/report", headers=STAFF).json()
    assert worth(after, "tea") == worth(before, "tea") - 30 * 1250
    assert worth(after, "books") == 0
    assert shop.get("/report", headers=ADA).status_code == 403


def worth(report: Any, category: str) -> int:
    (value,) = [int(row["value"]) for row in report if row["category"] == category]
    return value


def write_behind_the_shop(tmp_path: Path) -> None:
    """Change rows without an eviction, so that a cached response can be recognised."""
    with sqlite3.connect(tmp_path / "shop.sqlite3") as connection:
        connection.execute("UPDATE product SET price = 0 WHERE category = 'books'")
    connection.close()


def test_health_counts_on_the_client_of_the_application(shop: TestClient) -> None:
    assert shop.get("/health").json() == {"redis": "up", "visits": 1}
    assert shop.get("/health").json() == {"redis": "up", "visits": 2}


def test_a_closed_shop_opens_with_the_rows_it_had(shop: TestClient) -> None:
    shop.delete("/products/1", headers=STAFF)

    with TestClient(app) as reopened:
        assert reopened.get("/products/1").status_code == 404
        assert len(reopened.get("/products").json()) == 35


def test_the_shop_works_during_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.sqlite3"))
    monkeypatch.setenv("REDIS_URL", f"redis://{LOOPBACK}:{free_port()}")
    get_settings.cache_clear()
    with TestClient(app) as client:
        get(client, "/products/1", "BYPASS")
        edited = client.put("/products/1", json=YIRGACHEFFE, headers=STAFF)
        assert get(client, "/products/1", "BYPASS") == edited.json()
        assert client.get("/basket").status_code == 401
        assert client.get("/report", headers=STAFF).status_code == 200
        assert client.get("/health").json() == {"redis": "down", "visits": None}
    get_settings.cache_clear()


@pytest.fixture
def two_workers(redis_url: str, tmp_path: Path) -> Iterator[tuple[httpx.Client, Path]]:
    """The shop as a command with two workers, and the file with what it printed."""
    port, printed = free_port(), tmp_path / "printed"
    environment = {
        **os.environ,
        "SHOP_DB": str(tmp_path / "shop.sqlite3"),
        "REDIS_URL": redis_url,
        "REDIS_DEADLINE": "5",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")]),
    }
    command = [sys.executable, "-m", "shop", "--port", str(port), "--workers", "2"]
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            # A new connection for each request, so that either worker may answer.
            limits = httpx.Limits(max_keepalive_connections=0)
            url = f"http://{LOOPBACK}:{port}"
            with httpx.Client(base_url=url, timeout=10, limits=limits) as client:
                wait_until_open(client, process, printed)
                yield client, printed
        finally:
            process.terminate()
            process.wait(10)


def wait_until_open(client: httpx.Client, process: subprocess.Popen[bytes], printed: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        started = printed.read_text().count("Application startup complete")
        if started == 2 and client.get("/health").status_code == 200:
            return
        time.sleep(0.05)
    pytest.fail(f"the shop did not open:\n{printed.read_text()}")


def test_two_workers_show_an_edit_at_once_and_greet_once(
    two_workers: tuple[httpx.Client, Path],
) -> None:
    client, printed = two_workers
    for price in range(100, 120):
        edit = client.put("/products/1", json={**YIRGACHEFFE, "price": price}, headers=STAFF)
        assert edit.status_code == 200
        for _ in range(4):
            found = client.get("/products/1")
            assert (found.json()["price"], found.headers["x-redis-cache"]) == (price, "HIT")

    assert printed.read_text().count("The shop opens at") == 1
