"""The Lua scripts of the cache. A server may refuse scripts, to one user or to all."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from .transport import Command


class Script:
    """A script of this package's `lua` directory, with its digest.

    Args:
        name: Of the file, without its suffix.
    """

    __slots__ = ("digest", "source")

    def __init__(self, name: str) -> None:
        self.source = files(__package__).joinpath("lua", f"{name}.lua").read_bytes()
        self.digest = sha1(self.source, usedforsecurity=False).hexdigest()

    def by_digest(self, keys: Sequence[bytes], args: Sequence[bytes | int]) -> Command:
        """Run it if the server has it loaded; it replies with NOSCRIPT otherwise."""
        return Command(("EVALSHA", self.digest, len(keys), *keys, *args), keys[0], once=True)

    def by_source(self, keys: Sequence[bytes], args: Sequence[bytes | int]) -> Command:
        """Load and run it."""
        return Command(("EVAL", self.source, len(keys), *keys, *args), keys[0], once=True)


def refuses_scripts(reply: Any) -> bool:
    """Whether a reply to a script says that this server runs none for this user."""
    if isinstance(reply, NoPermissionError):
        return True
    return isinstance(reply, ResponseError) and "unknown command" in str(reply).lower()
