"""The command ``redis-fastapi``; says what to install if the extra ``cli`` is missing."""

from __future__ import annotations

import sys
from importlib import import_module

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line; exit code 1 on errors, 2 on wrong usage."""
    try:
        commands = import_module("redis_fastapi.cli._commands")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit(f"redis-fastapi needs {error.name}: pip install 'fastapi-redis-annotated[cli]'")
    commands.cli()
