"""Digests by which mypy invalidates its cache: of metadata, and of the rules.

Metadata is not part of a type, so mypy would not recheck the users of an alias if only its metadata
has changed. Every run needs the digest of every module, so it is a scan of bytes without parsing.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from .._policy import arguments, facts, placeholders, rules, templates

_OPENINGS: Final = re.compile(rb"\bAnnotated\s*\[|\b(?:Depends|Security)\s*\(")
_BRACKETS: Final = re.compile(rb"[\[\]()]")
_RULES: Final = (arguments, facts, placeholders, rules, templates)


def metadata_digest(text: bytes) -> str | None:
    """A digest of all metadata in a file; None if there is none."""
    digest = hashlib.sha1(usedforsecurity=False)
    end = 0
    for opening in _OPENINGS.finditer(text):
        if opening.start() >= end:
            end = _closing(text, opening.end())
            digest.update(text[opening.start() : end])
    return digest.hexdigest() if end else None


def own_digest() -> str:
    """A digest of the plugin and its rules."""
    files = [*Path(__file__).parent.glob("*.py")]
    files += [Path(module.__file__) for module in _RULES if module.__file__]
    digest = hashlib.sha1(usedforsecurity=False)
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _closing(text: bytes, start: int) -> int:
    """The offset after the bracket that closes the one before ``start``.

    Brackets in strings count as well, so that the digest may cover more or less of the file, but
    the same part in every run.
    """
    depth = 1
    for bracket in _BRACKETS.finditer(text, start):
        depth += 1 if bracket[0] in b"[(" else -1
        if depth == 0:
            return bracket.end()
    return len(text)
