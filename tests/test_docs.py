"""What README and docs say, held against the code.

Every fenced ``python`` block is run in a namespace of its own; where it makes an ``app``, that app
is started on the embedded Redis, so its declarations pass the checks of start-up. What is no
program is fenced as ``text``, and none of those blocks may parse as one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from redis_fastapi import RedisSettings, get_settings

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
TEST_NAME = re.compile(r"`(test_\w+)`")


def fenced(language: str) -> list[Any]:
    """Every block of a language, named by its page and line."""
    return list(_fenced(language))


def _fenced(language: str) -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text()
        for block in FENCE.finditer(text):
            if block[1] == language:
                line = text.count("\n", 0, block.start()) + 1
                yield pytest.param(block[2], id=f"{page.relative_to(ROOT)}:{line}")


@pytest.fixture(autouse=True)
def embedded_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings as if ``REDIS_URL=memory://`` were all that is set."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def executed(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "documented"}
    exec(compile(source, "<documentation>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("source", fenced("python"))
def test_every_python_block_runs(source: str) -> None:
    app = executed(source).get("app")
    if app is None:
        return
    with TestClient(app) as client:
        assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("source", [*fenced("text"), *fenced("")])
def test_no_program_hides_in_a_block_that_is_not_run(source: str) -> None:
    with pytest.raises(SyntaxError):
        ast.parse(source)


def test_the_example_of_the_readme_does_what_the_readme_says() -> None:
    source = fenced("python")[0].values[0]
    with TestClient(executed(str(source))["app"]) as client:
        states = [client.get("/products/1").headers["x-redis-cache"] for _ in range(2)]
        new = {"name": "Oolong", "price": 1100}
        client.put("/products/1", json=new)
        after_put = client.get("/products/1")
        client.delete("/products/1")

        assert states == ["MISS", "HIT"]
        assert (after_put.headers["x-redis-cache"], after_put.json()) == ("HIT", new)
        assert client.get("/products/1").status_code == 404


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_every_named_test_is_there(page: Path) -> None:
    for text, target, _ in LINK.findall(page.read_text()):
        if not target or target.startswith("https://"):
            continue
        file = page.parent / target
        assert file.exists(), f"{page.name} links to {target}"
        for name in TEST_NAME.findall(text):
            assert f"def {name}(" in file.read_text(), f"{target} has no {name}"


LAYER_ROW = re.compile(r"^\| \d+ \| `(\w+)(?:\.py|/)` \|", re.MULTILINE)


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a module imports, by their first name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").removeprefix("redis_fastapi").strip(".")
        if node.level == 0 and not (node.module or "").startswith("redis_fastapi"):
            continue
        found |= {module.split(".")[0]} if module else {alias.name for alias in node.names}
    return found


def test_every_module_has_its_row_below_all_that_it_imports() -> None:
    package = ROOT / "src" / "redis_fastapi"
    rows = LAYER_ROW.findall((ROOT / "docs" / "architecture.md").read_text())
    modules = {path.stem: path for path in package.glob("*.py") if path.stem != "__init__"}

    assert sorted(rows) == sorted([*modules, "_http"])
    for name, path in modules.items():
        later = set(rows[rows.index(name) :])
        assert not imported_modules(path) & later, f"{name} imports a module of a later row"


def test_every_function_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    sources = {
        path.stem: path.read_text() for path in (ROOT / "src" / "redis_fastapi").glob("**/*.py")
    }
    named = re.findall(r"`(\w+)\.py: ([\w., ]+)`", text)
    assert named
    for module, names in named:
        for name in names.split(", "):
            for part in name.split("."):
                pattern = rf"\b(def|class) {part}\b|^{part}\b.*="
                assert re.search(pattern, sources[module], re.MULTILINE), f"{module}: {name}"


def settings_table() -> str:
    """The table of the README, from the settings themselves."""
    rows = ["| Variable | Default | What it says |", "| --- | --- | --- |"]
    for name, field in RedisSettings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{shown(field.default)}`"
        assert field.description, name
        words = re.sub("``+", "`", field.description).replace("\n", " ")
        rows.append(f"| `REDIS_{name.upper()}` | {default} | {words} |")
    return "\n".join(rows)


def shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_of_settings_is_the_settings() -> None:
    table = settings_table()
    assert table in (ROOT / "README.md").read_text(), f"paste this into README.md:\n{table}"
