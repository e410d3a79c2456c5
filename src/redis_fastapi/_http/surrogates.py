"""Names by which a CDN can purge responses: Surrogate-Key and Cache-Tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

_SEPARATORS: Final = {"surrogate-key": b" ", "cache-tag": b","}
_PLAIN: Final = "!#$&'()*+-./:;<=>?@[]^_`{|}~"


def surrogate_field(name: str, groups: Iterable[str]) -> tuple[bytes, bytes]:
    """The field that names a response's groups, with separators within names percent-encoded.

    Args:
        name: `Surrogate-Key`, which separates names by spaces, or `Cache-Tag`, by commas.
        groups: Names of the groups.
    """
    separator = _SEPARATORS[name.lower()]
    return name.lower().encode(), separator.join(
        quote(group, safe=_PLAIN).encode() for group in groups
    )
