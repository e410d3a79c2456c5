"""Runs of mypy on small projects, in a process of its own.

``MYPY_PYTHON`` names another interpreter with mypy, ``MYPY_FLAGS`` adds options, ``MYPY_PLUGINS``
names plugins to run beside ours: one suite for every mypy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
CASES = HERE / "cases"
PYTHON = os.environ.get("MYPY_PYTHON", sys.executable)
FLAGS = tuple(os.environ.get("MYPY_FLAGS", "").split())
PLUGINS = (*os.environ.get("MYPY_PLUGINS", "").split(), "redis_fastapi.mypy")

LINE = re.compile(r"^(.+?\.py):(\d+):(?:(\d+):)? (error|note): (.*?)(?:  \[([\w-]+)\])?$")


class Said(NamedTuple):
    """One line of mypy's output."""

    file: str
    line: int
    column: int
    severity: str
    message: str
    code: str

    @classmethod
    def parse(cls, text: str) -> Said | None:
        """Read a line; None for a summary."""
        found = LINE.match(text)
        if found is None:
            return None
        file, line, column, severity, message, code = found.groups()
        return cls(Path(file).name, int(line), int(column or 0), severity, message, code or "")


@dataclass(frozen=True)
class Run:
    """What one run printed."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> list[Said]:
        """Its lines."""
        return [one for one in map(Said.parse, self.output.splitlines()) if one is not None]

    def of(self, severity: str) -> list[Said]:
        """Its lines of one severity."""
        return [one for one in self.said if one.severity == severity]


class Project:
    """A folder of modules, a configuration and a cache."""

    def __init__(self, root: Path, plugins: tuple[str, ...] = PLUGINS) -> None:
        self.root = root
        self._written = int(time.time()) - 100_000
        root.mkdir(parents=True, exist_ok=True)
        listed = f"plugins = {', '.join(plugins)}\n" if plugins else ""
        self._settings = f"[mypy]\nstrict = True\nshow_column_numbers = True\n{listed}"
        self.configure()

    def configure(self, sections: str = "") -> None:
        """Write the configuration, with further sections."""
        self.write("mypy.ini", self._settings + sections)

    def write(self, name: str, text: str) -> None:
        """Write one file, seconds later than the one before: mypy counts edits in seconds."""
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        self._written += 2
        os.utime(path, (self._written, self._written))

    def seeded(self, cache: Path) -> Project:
        """Start from a cache that another project left."""
        shutil.copytree(cache, self.root / "cache", dirs_exist_ok=True)
        return self

    @property
    def cache(self) -> Path:
        """Where mypy keeps what it knows."""
        return self.root / "cache"

    def run(self, *arguments: str, before: Path | None = None) -> Run:
        """Run mypy on all modules, or on those named; ``before`` is put first on ``sys.path``."""
        names = arguments or tuple(sorted(path.name for path in self.root.glob("*.py")))
        return self.execute("mypy", *FLAGS, "--cache-dir", "cache", *names, before=before)

    def execute(self, module: str, *arguments: str, before: Path | None = None) -> Run:
        """Run ``python -m module`` in the folder."""
        path = os.pathsep.join(map(str, (*([before] if before else []), SOURCES)))
        done = subprocess.run(
            [PYTHON, "-m", module, *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": path, "MYPYPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


def mypy_version() -> tuple[int, ...]:
    """The version that runs, or () where there is none."""
    done = subprocess.run(
        [PYTHON, "-m", "mypy", "--version"], capture_output=True, text=True, check=False
    )
    found = re.match(r"mypy (\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else ()
