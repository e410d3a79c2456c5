"""``redis-fastapi``: reports about an application, and commands for its cache."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
import redis
from fastapi import FastAPI
from typer.testing import CliRunner

import cli_app
from redis_fastapi import Cached, CacheEvict, FastAPIRedis, RedisSettings, cli, get_settings
from redis_fastapi._app.runtime import settings_of
from redis_fastapi._redis.entry import Entry, encode
from redis_fastapi._redis.keys import Target
from redis_fastapi._redis.store import Snapshot, Store
from redis_fastapi._telemetry.counters import Counters
from redis_fastapi._telemetry.published import Publisher
from redis_fastapi.cli._commands import cli as commands
from redis_fastapi.cli._explain import serving
from redis_fastapi.cli._load import registry_of
from redis_fastapi.cli._operate import warm
from redis_fastapi.cli._reports import route_reports
from redis_fastapi.cli._standing import EntryReport, Standing, entry_report
from redis_fastapi.telemetry import Answered, Event, Evicted

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of the embedded server, unless a test names another; no endpoint has run."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    cli_app.RAN.clear()
    yield
    get_settings.cache_clear()


def run(*arguments: str, code: int = 0) -> str:
    """What a command prints; its exit code is checked."""
    result = CliRunner().invoke(commands, list(arguments))
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.output
    return result.output


def run_json(*arguments: str, code: int = 0) -> Any:
    return orjson.loads(run(*arguments, "--json", code=code))


def report_of(name: str) -> dict[str, Any]:
    reports = run_json("routes", "cli_app:app")
    found = [one for one in reports if f"{one['method']} {one['path']}" == name]
    assert len(found) == 1
    report: dict[str, Any] = found[0]
    return report


# -- routes


def test_routes_shows_key_ttl_and_groups() -> None:
    report = report_of("GET /products/{product_id}")
    assert report["ttl"] == 300
    assert report["key"] == ["/products/{product_id}", "header lang"]
    assert report["groups"] == ["products", "product:{product_id}"]


def test_routes_shows_which_writes_evict_an_entry() -> None:
    report = report_of("GET /products/{product_id}")
    assert report["evicted_by"] == ["PUT /products/{number}", "DELETE /products"]
    assert report_of("GET /page")["evicted_by"] == ["PUT /page"]
    assert report_of("GET /basket")["evicted_by"] == []


def test_routes_shows_what_a_write_does() -> None:
    assert report_of("PUT /products/{number}")["evicts"] == ["group product:{number}"]
    assert report_of("PUT /page")["writes"] == "/page"


def test_routes_shows_who_shares_a_response() -> None:
    report = report_of("GET /basket")
    assert report["flags"] == ["private", "per user"]
    assert report["key"] == ["/basket", "value of user.id"]


def test_routes_shows_other_lifetimes_and_stale_windows() -> None:
    app = FastAPI()
    FastAPIRedis(app).caching()

    @app.get("/p")
    async def read() -> Annotated[
        int, Cached(60, group="g", stale_while_revalidate=30, statuses={404: 5}, cdn_ttl=600)
    ]:
        return 1

    @app.delete("/p")
    async def drop() -> Annotated[None, CacheEvict(group="g", soft=True)]: ...

    reading, writing = route_reports(registry_of(app), default_ttl=0)
    assert reading.flags == ("stale 30 s", "600 s in CDNs", "5 s for 404")
    assert writing.evicts == ("group g (soft)",)


def test_a_route_without_a_ttl_has_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_of("GET /page")["ttl"] == 0
    monkeypatch.setenv("REDIS_DEFAULT_TTL", "90")
    get_settings.cache_clear()
    assert report_of("GET /page")["ttl"] == 90


def test_routes_leave_out_what_does_not_cache() -> None:
    assert not any(one["path"] == "/plain" for one in run_json("routes", "cli_app:app"))
    assert "No route has to do with the cache" in run("routes", "cli_app:nothing")


def test_routes_are_readable() -> None:
    lines = run("routes", "cli_app:app").splitlines()
    (line,) = (line for line in lines if line.startswith("GET /products/{product_id}"))
    assert "300 s" in line
    assert "PUT /products/{number}" in line


def test_every_route_of_the_example_shop_is_reported() -> None:
    registry = registry_of(import_module("shop.main").app)
    reports = route_reports(registry, default_ttl=0)
    assert len(reports) == sum(one.policy is not None for one in registry.served) > 10
    read = [one for one in reports if one.ttl is not None and one.groups]
    assert all(one.evicted_by for one in read)


# -- check


def test_check_prints_nothing_about_correct_declarations() -> None:
    assert "Nothing to complain about" in run("check", "shop.main:app")


def test_check_fails_where_start_up_would() -> None:
    assert "wrong_put" in run("check", "cli_app:wrong", code=1)
    assert len(run_json("check", "cli_app:wrong", code=1)["errors"]) == 1


def test_check_warns_and_fails_on_warnings_when_it_is_strict() -> None:
    found = run_json("check", "cli_app:app")
    assert found["errors"] == []
    assert any("/never" in message for message in found["warnings"])
    assert run_json("check", "cli_app:app", "--strict", code=1)["errors"] == found["warnings"]


def test_check_fails_where_the_routes_break_a_rule_of_the_whole_application() -> None:
    (error,) = run_json("check", "cli_app:misspelt", code=1)["errors"]

    assert error.startswith("DELETE /products (delete_all): evicts group 'product'")
    assert "did you mean 'products'? [redis-cache-unfilled]" in error


def test_check_fails_on_a_setting_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "many")
    get_settings.cache_clear()
    assert "REDIS_PORT" in run("check", "cli_app:app", code=1)


def test_check_shows_a_declaration_that_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unregistrable.py").write_text(
        "from typing import Annotated\n"
        "from fastapi import FastAPI\n"
        "from redis_fastapi import Cached, FastAPIRedis\n"
        "app = FastAPI()\n"
        "FastAPIRedis(app).caching()\n"
        "@app.get('/')\n"
        "def root() -> Annotated[int, Cached(0)]: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "[redis-cache-value]" in run("check", "unregistrable:app", code=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cli_app", "write it as module:app"),
        ("no_such_module:app", "cannot be imported"),
        ("cli_app:no_such_app", "there is no 'no_such_app'"),
        ("cli_app:RAN", "no FastAPI application but list"),
    ],
)
def test_an_application_that_cannot_be_imported_is_an_error(name: str, message: str) -> None:
    assert message in run("check", name, code=1)


# -- graph


def test_graph_leads_from_writes_over_groups_to_reads() -> None:
    chart = run("graph", "cli_app:app")
    assert chart.startswith("flowchart LR\n")
    lines = {line.strip() for line in chart.splitlines()}
    nodes = {line[2:].strip('0123456789[]()"'): line[:2] for line in lines if '"' in line}
    write, group = nodes["PUT /products/{number}"], nodes["product:{}"]
    read = nodes["GET /products/{product_id}"]
    assert f"{write} -->|evicts| {group}" in lines
    assert f"{group} --> {read}" in lines
    assert f"{nodes['PUT /page']} -->|puts| {nodes['GET /page']}" in lines
    assert run_json("graph", "cli_app:app")["mermaid"] + "\n" == chart


# -- explain, evict, warm: on a real server


@pytest.fixture
def server(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real server, emptied, that the settings name."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    get_settings.cache_clear()
    return redis_url


@pytest.fixture
def urls(tmp_path: Path) -> Any:
    """Writes a file of addresses."""

    def write(*lines: str) -> str:
        path = tmp_path / "urls.txt"
        path.write_text("\n".join(lines))
        return str(path)

    return write


def explained(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = run_json("explain", "cli_app:app", *arguments)
    return found


def warmed(*paths: str) -> list[str | None]:
    result = CliRunner().invoke(
        commands, ["warm", "cli_app:app", "--from", "-", "--json"], input="\n".join(paths)
    )
    return [one["state"] for one in orjson.loads(result.stdout)]


@pytest.mark.usefixtures("server")
def test_explain_shows_the_entry_without_running_the_endpoint() -> None:
    before = explained("GET", "/products/1")
    assert (before["entry"]["standing"], before["not_stored"]) == ("missing", [])
    assert before["groups"] == ["products", "product:1"]
    assert cli_app.RAN == []
    assert warmed("/products/1") == ["MISS"]
    after = explained("GET", "/products/1")
    assert after["entry"]["standing"] == "valid"
    assert after["entry"]["status"] == 200
    assert after["entry"]["size_bytes"] == len(b'{"name":"1 en"}')
    assert 0 < after["entry"]["ttl_seconds"] <= 300
    assert after["key"] == before["key"]
    assert cli_app.RAN == ["get_product"]


def test_the_reported_key_is_the_key_in_redis(server: str) -> None:
    warmed("/products/1")
    with redis.Redis.from_url(server) as client:
        assert client.keys("fastapi:e:*") == [explained("GET", "/products/1")["key"].encode()]


@pytest.mark.usefixtures("server")
def test_headers_of_an_explained_request_select_the_entry() -> None:
    warmed("/products/1")
    assert explained("GET", "/products/1", "-H", "lang: de")["entry"]["standing"] == "missing"
    assert explained("GET", "/products/1")["entry"]["standing"] == "valid"


@pytest.mark.usefixtures("server")
def test_explain_names_the_generation_that_evicted_the_entry() -> None:
    by: list[list[str]] = []
    for eviction in (["--group", "product:1"], ["--group", "products"], ["--all"]):
        warmed("/products/1")
        run("evict", *eviction)
        entry = explained("GET", "/products/1")["entry"]
        assert entry["standing"] == "evicted"
        by.append(entry["evicted_by"])
    assert by == [["group 'product:1'"], ["group 'products'"], ["the whole cache"]]
    assert "evicted by the whole cache: " in run("explain", "cli_app:app", "GET", "/products/1")


@pytest.mark.usefixtures("server")
def test_dependencies_choose_the_key_and_may_refuse() -> None:
    refused = explained("GET", "/basket")
    assert refused["key"] is None
    assert refused["status"] in (401, 403)
    found = explained("GET", "/basket", "-H", "Authorization: Bearer anna")
    assert found["key"] is not None
    assert cli_app.RAN == []


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        (("GET", "/nowhere"), "no route serves it"),
        (("GET", "/plain"), "its route declares no Cached"),
        (("PUT", "/products/1"), "its route declares no Cached"),
        (("GET", "/products/1", "-H", "Cache-Control: no-store"), "the request says no-store"),
    ],
)
def test_explain_shows_why_nothing_is_stored(request_line: tuple[str, ...], reason: str) -> None:
    assert explained(*request_line)["not_stored"] == [reason]
    assert cli_app.RAN == []


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("directive", ["no-cache", "no-store", "max-age=0", "only-if-cached"])
def test_no_directive_makes_an_explained_endpoint_run(directive: str) -> None:
    warmed("/products/1")
    cli_app.RAN.clear()
    explained("GET", "/products/1", "-H", f"Cache-Control: {directive}")
    assert cli_app.RAN == []


def test_while_caching_is_off_an_explained_endpoint_does_not_run_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_ENABLED", "false")
    get_settings.cache_clear()
    assert "caching is off" in explained("GET", "/products/1")["not_stored"][0]
    assert cli_app.RAN == []


def test_explain_without_redis_still_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    get_settings.cache_clear()
    found = explained("GET", "/products/1")
    assert found["key"] is not None
    assert found["entry"]["standing"] == "unknown"


@pytest.mark.usefixtures("server")
def test_evicting_a_path_leaves_other_paths() -> None:
    warmed("/products/1", "/products/2")
    assert run("evict", "cli_app:app", "--key", "/products/1") == "Evicted.\n"
    assert warmed("/products/1", "/products/2") == ["MISS", "HIT"]


def test_an_eviction_that_is_not_confirmed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    get_settings.cache_clear()
    assert "did not confirm" in run("evict", "--all", code=1)
    result = CliRunner().invoke(commands, ["evict", "--all", "--json"])
    assert orjson.loads(result.stdout) == {"confirmed": False}


@pytest.mark.usefixtures("server")
def test_an_eviction_that_its_replicas_do_not_have_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_WAIT_REPLICAS", "1")
    get_settings.cache_clear()
    assert "did not confirm" in run("evict", "--all", code=1)


# -- stats


@pytest.fixture
def counts(server: str) -> None:
    """What two processes have published."""
    told: list[Event] = [
        Answered("GET /page", "HIT", None, 6, 0, 0.001, local=True),
        Answered("GET /page", "BYPASS", "unavailable", 6, 0, 0.003),
        Evicted("PUT /page", 1, False, 0, 0.0),
    ]
    counters = Counters()
    for event in told:
        counters(event)

    async def publish_twice() -> None:
        async with redis.asyncio.Redis.from_url(server) as client:
            for _ in range(2):
                store = Store(client, prefix="fastapi")
                await Publisher(store.execute, "fastapi", counters, 10.0).publish()

    asyncio.run(publish_twice())


@pytest.mark.usefixtures("counts")
def test_stats_shows_what_is_in_redis_and_what_was_counted() -> None:
    warmed("/products/1", "/products/2", "/page")
    found = run_json("stats", "cli_app:app")
    assert (found["entries"], found["complete"], found["processes"]) == (3, True, 2)
    assert found["mean_bytes"] > 0
    assert found["memory"]["policy"] == "noeviction"
    page = found["routes"]["GET /page"]
    assert (page["hits"], page["bypasses"], page["hit_ratio"]) == (2, 2, 0.5)
    assert (page["local_hits"], page["reasons"]) == (2, {"unavailable": 2})


@pytest.mark.usefixtures("counts")
def test_stats_are_readable() -> None:
    lines = run("stats").splitlines()
    assert "of 2 running processes" in lines[2]
    (read,) = (line.split() for line in lines if line.startswith("GET /page"))
    assert read[2:] == ["2", "(2", "local)", "0", "0", "2", "50.0%", "2.00", "ms"]
    assert any("2 (2 unconfirmed)" in line for line in lines)


@pytest.mark.usefixtures("server")
def test_stats_look_at_no_more_entries_than_the_limit() -> None:
    warmed("/products/1", "/products/2", "/page")
    found = run_json("stats", "--most", "2")
    assert (found["entries"], found["complete"]) == (2, False)
    assert "at least 2" in run("stats", "--most", "2")
    assert "no process publishes any (REDIS_STATS_INTERVAL)" in run("stats")


@pytest.mark.usefixtures("server")
def test_stats_take_the_prefix_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("shop[eu]", "shop*"):
        monkeypatch.setenv("REDIS_PREFIX", prefix)
        get_settings.cache_clear()
        warmed("/page")
        assert run_json("stats")["entries"] == 1


def test_stats_without_redis_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    get_settings.cache_clear()
    assert "Error: Redis does not reply" in run("stats", code=1)


# -- wrong calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evict"], "name what to evict"),
        (["evict", "--key", "/page"], "--key needs the application"),
        (["explain", "cli_app:app", "GET", "/page", "-H", "nonsense"], "write a header as"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    assert message in run(*arguments, code=2)


@pytest.mark.usefixtures("server")
def test_warm_fills_what_is_missing_and_reports_what_failed(urls: Any) -> None:
    file = urls("/products/1", "", "# the page", "/page", "/broken", "/products/x", "/plain")
    told = run("warm", "cli_app:app", "--from", file, code=1)
    assert "5 requests: 2 stored, 0 there before, 2 failed." in told
    assert "500 not cached: /broken" in told
    assert "422 not cached: /products/x" in told
    assert "200 not cached: /plain" in told
    again = run("warm", "cli_app:app", "--from", urls("/products/1", "/page"))
    assert "2 requests: 0 stored, 2 there before, 0 failed." in again


@pytest.mark.usefixtures("server")
def test_warm_sends_the_headers_that_select() -> None:
    result = CliRunner().invoke(
        commands,
        ["warm", "cli_app:app", "--from", "-", "-H", "Authorization: Bearer anna"],
        input="/basket",
    )
    assert result.exit_code == 0
    found = explained("GET", "/basket", "-H", "Authorization: Bearer anna")
    assert found["entry"]["standing"] == "valid"


async def test_warm_keeps_to_its_number_of_requests_at_a_time() -> None:
    app, running, most = FastAPI(), 0, 0

    @app.get("/{number}")
    async def busy(number: int) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    done = await warm(app, map("/{}".format, range(20)), (), concurrency=3, report=lambda _: None)
    assert [one.url for one in done] == [f"/{number}" for number in range(20)]
    assert most == 3


def test_the_settings_of_an_application_are_those_it_was_set_up_with() -> None:
    app = FastAPI()
    assert settings_of(app) is get_settings()
    FastAPIRedis(app, mine := RedisSettings(prefix="mine")).lifespan()
    assert settings_of(app) is mine


TARGET = Target("0" * 32, ("g:",), b"shape-01")
TOKENS = (b"token-01soft--01",)


def judged(
    created_ms: int, fresh_ms: int, *, shape: bytes = TARGET.shape, revalidate_ms: int = 0
) -> EntryReport:
    entry = Entry(200, (), b"x", created_ms, fresh_ms, revalidate_ms=revalidate_ms)
    raw = encode(entry, shape + TOKENS[0])
    return entry_report(TARGET, Snapshot(raw, TOKENS), (), now_ms=10_000)


def test_an_entry_is_judged_by_age_shape_and_wholeness() -> None:
    assert judged(9_000, 2_000).standing is Standing.VALID
    assert judged(9_000, 0).ttl_seconds is None
    assert judged(8_000, 2_000).standing is Standing.EXPIRED
    assert judged(7_000, 2_000, revalidate_ms=2_000).standing is Standing.STALE
    assert judged(7_000, 2_000).ttl_seconds == -1
    assert judged(9_000, 2_000, shape=b"shape-02").standing is Standing.OTHER_VERSION
    damaged = entry_report(TARGET, Snapshot(b"\x01garbage", TOKENS), (), now_ms=0)
    assert damaged.standing is Standing.DAMAGED


@pytest.mark.parametrize(
    ("token", "standing"),
    [(b"token-01soft--02", Standing.OUTDATED), (b"token-02soft--01", Standing.EVICTED)],
)
def test_an_entry_is_judged_by_the_half_of_a_token_that_changed(
    token: bytes, standing: Standing
) -> None:
    raw = encode(Entry(200, (), b"x", 9_000, 2_000), TARGET.shape + TOKENS[0])
    report = entry_report(TARGET, Snapshot(raw, (token,)), (), now_ms=10_000)
    assert (report.standing, report.evicted_by) == (standing, ("the whole cache",))


# -- the command itself


def test_without_the_extra_the_line_to_install_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_typer(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="typer")

    monkeypatch.setattr(cli, "import_module", without_typer)
    with pytest.raises(SystemExit, match=r"pip install 'fastapi-redis-annotated\[cli\]'"):
        cli.main()


def test_another_missing_module_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'orjson'", name="orjson")

    monkeypatch.setattr(cli, "import_module", without)
    with pytest.raises(ModuleNotFoundError, match="orjson"):
        cli.main()


def test_the_command_runs_as_a_process_of_its_own() -> None:
    code = "from redis_fastapi.cli import main; main()"
    command = [sys.executable, "-c", code, "check", "cli_app:wrong"]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "REDIS_URL": "memory://"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong_put" in done.stdout


def test_the_first_route_that_serves_a_request_is_found() -> None:
    registry = registry_of(cli_app.app)
    found = serving(registry, "GET", "/products/1")
    assert found is not None
    assert found.endpoint is cli_app.get_product
    assert serving(registry, "PATCH", "/products/1") is None
    assert isinstance(cli_app.app, FastAPI)
