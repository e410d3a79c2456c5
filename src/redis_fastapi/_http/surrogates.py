"""Names by which a CDN can be told to forget answers: Surrogate-Key and Cache-Tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

_SEPARATORS: Final = {"surrogate-key": b" ", "cache-tag": b","}
_PLAIN: Final = "!#$&'()*+-./:;<=>?@[]^_`{|}~"


def surrogate_field(name: str, groups: Iterable[str]) -> tuple[bytes, bytes]:
    """The field that names the groups of an answer; what would separate two is percent-encoded.

    Args:
        name: `Surrogate-Key`, whose names are separated by spaces, or `Cache-Tag`, by commas.
        groups: The names.
    """
    separator = _SEPARATORS[name.lower()]
    return name.lower().encode(), separator.join(
        quote(group, safe=_PLAIN).encode() for group in groups
    )
