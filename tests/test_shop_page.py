"""The shop's page in headless Chromium: what a newcomer sees of the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redis_fastapi import get_settings
from servers import LOOPBACK, free_port
from shop.main import app
from transcripts import served

pytest.importorskip("selenium", reason="selenium is not installed (dependency group test)")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 30.0
ROWS = """return [...document.querySelectorAll("#rows tr")]
    .map(row => [...row.cells].map(cell => cell.textContent))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # a container's root has no sandbox, and its /dev/shm may be small
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def page(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.sqlite3"))
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    with served(app) as address:
        yield Page(browser, address)
    get_settings.cache_clear()


class Page:
    """What a person does on the page, and sees."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self._browser = browser
        browser.get(f"http://{address}/")
        self._wait(lambda: bool(browser.find_elements(By.CSS_SELECTOR, "body[data-ready]")))

    def _wait(self, condition: Callable[[], bool]) -> None:
        WebDriverWait(self._browser, SECONDS, 0.05).until(lambda _: condition())

    def card(self, name: str) -> WebElement:
        return self._browser.find_element(By.XPATH, f'//article[.//strong[.="{name}"]]')

    def state(self, name: str) -> str:
        return str(self.card(name).get_attribute("data-state"))

    def press(self, name: str, within: WebElement | None = None) -> list[str]:
        """Press a button; the row that its request adds to the table."""
        rows = len(self.rows())
        button = (within or self._browser).find_element(By.XPATH, f'.//button[.="{name}"]')
        self._browser.execute_script("arguments[0].click()", button)
        self._wait(lambda: len(self.rows()) > rows)
        return self.rows()[0]

    def rows(self) -> list[list[str]]:
        rows: list[list[str]] = self._browser.execute_script(ROWS)
        return rows

    def send_etags(self) -> None:
        self._browser.execute_script("document.getElementById('etag').checked = true")

    def says_that_redis_is_away(self) -> bool:
        return bool(self._browser.find_element(By.ID, "away").is_displayed())

    def becomes(self, name: str, state: str) -> None:
        self._wait(lambda: self.state(name) == state)


def test_the_second_request_is_a_hit_and_its_card_shows_it(page: Page) -> None:
    first = page.press("Ask", page.card("Sencha"))
    page.becomes("Sencha", "cached")
    second = page.press("Ask", page.card("Sencha"))

    assert first[:4] == ["GET /products/8", "anyone", "MISS", "200"]
    assert second[:5] == ["GET /products/8", "anyone", "HIT", "200", "0 s"]
    assert page.state("Yirgacheffe") == "empty"
    assert not page.says_that_redis_is_away()


def test_an_edit_keeps_its_own_page_and_evicts_every_list(page: Page) -> None:
    for name in ("Yirgacheffe", "Coffee beans", "Search for grinders"):
        page.press("Ask", page.card(name))

    written = page.press("Another price for Yirgacheffe")

    assert written[:4] == ["PUT /products/1", "staff", "written", "200"]
    page.becomes("Coffee beans", "evicted")
    page.becomes("Search for grinders", "evicted")
    assert page.state("Yirgacheffe") == "cached"
    assert page.press("Ask", page.card("Yirgacheffe"))[2] == "HIT"


def test_two_users_have_a_basket_each_and_no_credentials_have_none(page: Page) -> None:
    for user in ("Ada", "Grace"):
        page.press(f"as {user}", page.card(f"{user}'s basket"))
        page.becomes(f"{user}'s basket", "cached")

    page.press("Sencha into Ada's basket")
    page.becomes("Ada's basket", "evicted")

    assert page.state("Grace's basket") == "cached"
    assert page.press("as a stranger", page.card("Grace's basket"))[2:4] == ["refused", "401"]


def test_with_its_etag_the_response_has_no_body(page: Page) -> None:
    page.press("Ask", page.card("Tea"))
    page.becomes("Tea", "cached")
    page.send_etags()

    assert page.press("Ask", page.card("Tea"))[2:4] == ["HIT", "304"]


def test_the_page_shows_an_outage_while_it_lasts(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.sqlite3"))
    monkeypatch.setenv("REDIS_URL", f"redis://{LOOPBACK}:{free_port()}")
    get_settings.cache_clear()
    with served(app) as address:
        page = Page(browser, address)
        assert page.press("Ask", page.card("Tea"))[2] == "BYPASS"
        assert page.says_that_redis_is_away()
    get_settings.cache_clear()
