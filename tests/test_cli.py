"""``redis-fastapi``: what it says of an application, and what it does to its cache."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

import cli_app
from redis_fastapi import cli, get_settings
from redis_fastapi._commands import cli as commands
from redis_fastapi._inspect import route_reports, serving
from redis_fastapi._load import registry_of

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


def test_routes_tell_key_ttl_and_groups() -> None:
    report = report_of("GET /products/{product_id}")
    assert report["ttl"] == 300
    assert report["key"] == ["/products/{product_id}", "header lang"]
    assert report["groups"] == ["products", "product:{product_id}"]


def test_routes_tell_who_evicts_an_entry_whatever_the_fields_are_called() -> None:
    report = report_of("GET /products/{product_id}")
    assert report["evicted_by"] == ["PUT /products/{number}", "DELETE /products"]
    assert report_of("GET /page")["evicted_by"] == ["PUT /page"]
    assert report_of("GET /basket")["evicted_by"] == []


def test_routes_tell_what_a_write_does() -> None:
    assert report_of("PUT /products/{number}")["evicts"] == ["group product:{number}"]
    assert report_of("PUT /page")["writes"] == "/page"


def test_routes_tell_for_whom_an_answer_is() -> None:
    report = report_of("GET /basket")
    assert report["flags"] == ["private", "per user"]
    assert report["key"] == ["/basket", "value of user.id"]


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


def test_check_is_silent_about_what_is_right() -> None:
    assert "Nothing to complain about" in run("check", "shop.main:app")


def test_check_fails_where_a_start_would() -> None:
    assert "wrong_put" in run("check", "cli_app:wrong", code=1)
    assert len(run_json("check", "cli_app:wrong", code=1)["errors"]) == 1


def test_check_warns_and_fails_on_warnings_when_it_is_strict() -> None:
    found = run_json("check", "cli_app:app")
    assert found["errors"] == []
    assert any("/never" in message for message in found["warnings"])
    assert run_json("check", "cli_app:app", "--strict", code=1)["errors"] == found["warnings"]


def test_check_fails_on_a_setting_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "many")
    get_settings.cache_clear()
    assert "REDIS_PORT" in run("check", "cli_app:app", code=1)


def test_check_tells_a_declaration_that_cannot_be_registered(
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
def test_an_application_that_is_not_there_is_told(name: str, message: str) -> None:
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


# -- the command itself


def test_without_the_extra_the_line_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
