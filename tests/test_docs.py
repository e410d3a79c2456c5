"""What README and docs say, held against the code.

Every program is run, and its ``app`` is started on the embedded Redis, so its declarations pass the
checks of start-up. Every transcript is typed into a shell while its program is served, and what is
printed is compared. What is no program is fenced as ``text``, and none of those blocks may parse
as one. The rules of the blocks are in ``documentation``.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.core import TyperGroup
from typer.main import get_command

import redis_fastapi
import shop.main
from documentation import (
    PAGES,
    README,
    ROOT,
    Block,
    Program,
    Transcript,
    attribute_docstrings,
    blocks,
    programs,
    refusals,
    save,
    transcripts,
)
from redis_fastapi import CacheDeclarationError, RedisSettings, get_settings
from redis_fastapi.cli._commands import cli
from servers import RedisServer
from support import start_up
from transcripts import agree, environment, printed, served

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
TEST_NAME = re.compile(r"`(test_\w+)`")
TOOLS = {"curl": "apt-get install curl", "mypy": "dependency group lint"}
"""Commands of transcripts that an environment may lack, and where they come from."""
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def name_of(page: Path) -> str:
    return page.name


def of_language(*languages: str) -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language in languages]


@pytest.fixture(autouse=True)
def embedded_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings as if ``REDIS_URL=memory://`` were all that is set."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page's files are saved and its commands are typed; modules in it can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def executed(program: Program) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": program.name}
    exec(compile(program.source, str(program), "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "program", [program for page in PAGES for program in programs(page)], ids=str
)
def test_every_program_runs(program: Program, directory: Path) -> None:
    save(program.blocks[0].page, directory)
    app = executed(program).get("app")
    if app is None:
        return
    with TestClient(app) as client:
        assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize(
    ("program", "shown"), [case for page in PAGES for case in refusals(page)], ids=str
)
def test_every_refused_program_is_refused_with_the_message_on_the_page(
    program: Program, shown: str
) -> None:
    with pytest.raises(CacheDeclarationError) as refused:
        start_up(executed(program)["app"])
    assert not shown or agree(shown, str(refused.value)), refused.value


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.is_before], ids=str)
def test_every_block_for_another_library_is_a_program(block: Block) -> None:
    ast.parse(block.source)


@pytest.mark.parametrize("block", of_language("text", ""), ids=str)
def test_every_program_of_a_page_is_run(block: Block) -> None:
    assert not block.source.startswith("$ "), "a transcript is fenced as console"
    with pytest.raises(SyntaxError):
        ast.parse(block.source)


@pytest.mark.parametrize("page", [page for page in PAGES if any(transcripts(page))], ids=name_of)
def test_every_transcript_prints_what_the_page_shows(
    page: Path, directory: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(directory, redis_server.url).items():
        monkeypatch.setenv(name, value)
    for tool, source in TOOLS.items():
        if uses(page, tool) and shutil.which(tool) is None:
            pytest.skip(f"no {tool} on PATH ({source})")
    get_settings.cache_clear()
    save(page, directory)
    for program, group in groupby(transcripts(page), key=lambda one: one.program):
        redis_server.flush()
        with served(application(program, directory)) as address:
            for transcript in group:
                follow(transcript, directory, address)


def uses(page: Path, tool: str) -> bool:
    """Whether a command of a page begins with this tool, or goes on with it."""
    commands = (command for one in transcripts(page) for command, _ in one.steps())
    return any(tool in command.split() for command in commands)


def application(program: Program, directory: Path) -> FastAPI:
    """What a page serves, with its file where commands look for it."""
    if not program.blocks:
        return shop.main.app
    (directory / f"{program.name}.py").write_text(program.source)
    app: FastAPI = executed(program)["app"]
    return app


def follow(transcript: Transcript, directory: Path, address: str) -> None:
    for command, shown in transcript.steps():
        output = printed(command, directory, address)
        assert agree(shown, output), f"{transcript}: {command}\nprints\n{output}"


def test_the_example_of_the_readme_works_as_described() -> None:
    with TestClient(executed(programs(README)[0])["app"]) as client:

        def get() -> tuple[str, str]:
            answer = client.get("/teas/1")
            return answer.headers["x-redis-cache"], answer.json()

        assert [get(), get()] == [("MISS", "Sencha"), ("HIT", "Sencha")]
        client.put("/teas/1", params={"name": "Oolong"})
        assert get() == ("HIT", "Oolong")
        client.post("/clearance")
        assert get() == ("MISS", "Oolong, half price")


MAKE_TARGET = re.compile(r"^make ([a-z-]+)", re.M)
OUR_COMMAND = re.compile(r"^(?:\$ )?redis-fastapi ([a-z]+)", re.M)


def test_every_command_of_a_page_exists() -> None:
    typed = "\n".join(block.source for block in of_language("sh", "console"))
    makefile = (ROOT / "Makefile").read_text()
    for target in MAKE_TARGET.findall(typed):
        assert f"\n{target}:" in makefile, f"make {target}"
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    assert set(OUR_COMMAND.findall(typed)) <= set(group.commands)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_linked_file_and_named_test_exists(page: Path) -> None:
    for text, target, _ in LINK.findall(page.read_text()):
        if not target or target.startswith("https://"):
            continue
        file = page.parent / target
        assert file.exists(), f"{page.name} links to {target}"
        for name in TEST_NAME.findall(text):
            assert f"def {name}(" in file.read_text(), f"{target} has no {name}"


def test_every_row_of_the_page_on_http_is_a_test() -> None:
    lines = (ROOT / "docs/http.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.endswith(" Shown by |")]

    assert [row for row in rows if "---" not in row and not TEST_NAME.search(row)] == []


def test_every_test_of_what_clients_get_is_a_row_of_the_page_on_http() -> None:
    named = set(TEST_NAME.findall((ROOT / "docs/http.md").read_text()))
    for part in ("downstream", "responses", "writes"):
        module = (ROOT / f"tests/test_http_{part}.py").read_text()
        written = re.findall(r"^(?:async )?def (test_\w+)", module, re.MULTILINE)
        assert {name for name in written if "_control_" not in name} <= named


LAYER_ROW = re.compile(r"^\| `([\w/]+?)(?:\.py|/)` \|", re.MULTILINE)

PACKAGE = ROOT / "src" / "redis_fastapi"
TABLED = ("_app", "_engine", "_policy", "_redis", "_routes", "_serving", "_setup", "_telemetry")
"""The packages whose modules have rows of their own."""


def files_of_modules(package: Path) -> dict[str, list[Path]]:
    """The files of every module and subpackage; the mypy plugin stands apart and imports none."""
    modules = {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    folders = {path.parent for path in package.glob("*/__init__.py")} - {package / "mypy"}
    return modules | {folder.name: sorted(folder.glob("*.py")) for folder in folders}


def imported_modules(path: Path, package: Path) -> set[str]:
    """Modules of the package that a file imports, by their first name within it."""
    outwards = len(path.relative_to(package).parts)
    prefix = ".".join(package.relative_to(PACKAGE.parent).parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        absolute = node.level == 0 and f"{node.module}.".startswith(f"{prefix}.")
        if not absolute and node.level != outwards:
            continue
        module = (node.module or "").removeprefix(prefix if absolute else "").strip(".")
        found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ["", *TABLED])
def test_every_module_has_its_row_below_all_that_it_imports(folder: str) -> None:
    package = PACKAGE / folder
    table = LAYER_ROW.findall((ROOT / "docs" / "architecture.md").read_text())
    rows = [Path(row).name for row in table if Path(row).parent == Path(folder)]
    modules = files_of_modules(package)

    assert sorted(rows) == sorted(modules)
    for name, files in modules.items():
        imported = set().union(*(imported_modules(path, package) for path in files))
        later = set(rows[rows.index(name) :]) - ({name} if len(files) > 1 else set())
        assert not imported & later, f"{name} imports a module of a later row"


def test_every_function_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([\w/]+\.py): ([\w., ]+)`", text)
    assert named
    for module, names in named:
        source = (PACKAGE / module).read_text()
        for part in names.replace(", ", ".").split("."):
            pattern = rf"\b(def|class) {part}\b|^{part}\b.*="
            assert re.search(pattern, source, re.MULTILINE), f"{module}: {part}"


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in redis_fastapi.__all__ if name not in page] == []


def settings_table() -> str:
    """The table of the page, from the settings themselves."""
    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    described = attribute_docstrings(RedisSettings)
    for name, field in RedisSettings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{shown(field.default)}`"
        words = re.sub("``+", "`", described[name]).replace("\n", " ")
        rows.append(f"| `REDIS_{name.upper()}` | {default} | {words} |")
    return "\n".join(rows)


def shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_of_settings_is_the_settings() -> None:
    table = settings_table()
    page = ROOT / "docs" / "configuration.md"
    assert table in page.read_text(), f"paste this into docs/configuration.md:\n{table}"
