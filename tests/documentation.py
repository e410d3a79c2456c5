"""README and docs as what they are made of: programs, transcripts and other fenced blocks.

A ``python`` block that begins with an import is a program; one that does not continues the program
above it. Its title, if it has one, is the file to save it as. A ``console`` block is a transcript:
it runs against the program above it, or where there is none against the example shop. A block
titled ``refused`` is a program, or the rest of one, that registration refuses, and a ``text`` block
after it is the message. One whose title begins with ``before`` is code for another library.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<source>.*?)^```$', re.M | re.S
)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n?", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``line`` is that of its fence, from 1."""

    page: Path
    line: int
    language: str
    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_program(self) -> bool:
        """Whether it is Python for this library."""
        return self.language == "python" and not self.is_before and not self.is_refused

    @property
    def is_refused(self) -> bool:
        """Whether registration refuses it."""
        return self.title == "refused"

    @property
    def is_before(self) -> bool:
        """Whether it is Python for another library."""
        return self.language == "python" and self.title.startswith("before")

    @property
    def begins(self) -> bool:
        """Whether it is the first block of a program."""
        return re.match(r"(import|from) ", self.source) is not None


@dataclass(frozen=True, slots=True)
class Program:
    """Blocks that make one module."""

    blocks: tuple[Block, ...] = ()

    def __str__(self) -> str:
        return str(self.blocks[0])

    def followed_by(self, block: Block) -> Program:
        """The program that stands at the end of one more block."""
        return Program((block,) if block.begins else (*self.blocks, block))

    @property
    def name(self) -> str:
        """The module's name."""
        titles = [block.title for block in self.blocks if block.title]
        return titles[0].removesuffix(".py") if titles else "main"

    @property
    def source(self) -> str:
        """The module's text, whose line numbers are those of the page."""
        text = ""
        for block in self.blocks:
            text += "\n" * (block.line - text.count("\n")) + block.source
        return text


@dataclass(frozen=True, slots=True)
class Transcript:
    """Commands with what they print, and the program that is served; an empty one is the shop."""

    block: Block
    program: Program

    def __str__(self) -> str:
        return str(self.block)

    def steps(self) -> Iterator[tuple[str, str]]:
        """Each command and its output."""
        _, *parts = COMMAND.split(self.block.source)
        return zip(parts[::2], parts[1::2], strict=True)


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2] or "", found[3])
        for found in FENCE.finditer(text)
    ]


def programs(page: Path) -> list[Program]:
    """The programs of a page, each as it stands after its last block."""
    done: list[Program] = []
    for block in filter(lambda block: block.is_program, blocks(page)):
        if not block.begins:
            done[-1] = done[-1].followed_by(block)
        else:
            done.append(Program((block,)))
    return done


def save(page: Path, directory: Path) -> None:
    """Put the files of a page where commands and imports find them."""
    for program in programs(page):
        if program.blocks[0].title:
            (directory / f"{program.name}.py").write_text(program.source)


def refusals(page: Path) -> Iterator[tuple[Program, str]]:
    """The programs of a page that are refused, and the message that is shown, if it is."""
    program = Program()
    for block, following in pairwise([*blocks(page), Block(page, 0, "", "", "")]):
        if block.is_refused:
            shown = following.source if following.language == "text" else ""
            yield program.followed_by(block), shown
        elif block.is_program:
            program = program.followed_by(block)


def transcripts(page: Path) -> Iterator[Transcript]:
    """The transcripts of a page."""
    program = Program()
    for block in blocks(page):
        if block.is_program:
            program = program.followed_by(block)
        if block.language == "console":
            yield Transcript(block, program)


def attribute_docstrings(owner: type) -> dict[str, str]:
    """The docstrings of a class's annotated attributes, by name."""
    (body,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(body, ast.ClassDef)
    return {
        attribute.target.id: inspect.cleandoc(text)
        for attribute, described in pairwise(body.body)
        if isinstance(attribute, ast.AnnAssign)
        and isinstance(attribute.target, ast.Name)
        and isinstance(described, ast.Expr)
        and isinstance(described.value, ast.Constant)
        and isinstance(text := described.value.value, str)
    }
