"""Shows the files of the repository that pages link to: the site has no other copy of them.

A link to ``../tests/test_safety.py`` leads to a page with that file, and where its text names a
test, to the line of that test. A link to a directory leads to all of its files on one page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[([^\]]*)\]\(\.\./([^)#\s]+)\)")
LANGUAGES = {".py": "python", ".html": "html", ".toml": "toml", ".sh": "sh"}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add a page for every file and directory that a page links to."""
    linked = {
        target.rstrip("/")
        for page in files.documentation_pages()
        for _, target in LINK.findall(page.content_string)
    }
    for target in sorted(linked):
        files.append(File.generated(config, f"source/{target}.md", content=shown(target)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at those pages."""
    return LINK.sub(lambda link: f"[{link[1]}]({address(link[2], link[1])})", markdown)


def address(target: str, text: str) -> str:
    """Where the site shows a file: at the line of the test that the link names, if it names one."""
    path = ROOT / target
    page = f"source/{target.rstrip('/')}.md"
    name = re.search(r"test_\w+", text)
    if name is None or not path.is_file():
        return page
    before, found, _ = path.read_text().partition(f"def {name[0]}(")
    line = before.count("\n") + 1
    return f"{page}#__codelineno-0-{line}" if found else page


def shown(target: str) -> str:
    """The page of a file or directory, kept out of the search."""
    path = ROOT / target
    if path.suffix == ".md":
        return path.read_text()
    inside = (one for one in path.rglob("*") if one.suffix in LANGUAGES)
    parts = [path] if path.is_file() else sorted(inside)
    blocks = "\n\n".join(map(block, parts))
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {target}\n\n{blocks}\n"


def block(path: Path) -> str:
    """A file as a block that no fence in the file can end."""
    language = LANGUAGES.get(path.suffix, "text")
    title = path.relative_to(ROOT).as_posix()
    return f'``````{language} title="{title}"\n{path.read_text().rstrip()}\n``````'
