"""URLs of Redis: which ones are accepted, and which database they select.

What redis-py would misread is refused. No message quotes the URL: any part may be a password.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

_SCHEMES: Final = ("redis", "rediss", "unix", "memory")


def require_usable(url: str) -> None:
    """Refuse what redis-py cannot use, or would misread.

    Raises:
        ValueError: With what to write instead.
    """
    parts = _split_or_raise(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError("must start with redis://, rediss://, unix:// or memory://")
    if parts.fragment:
        raise ValueError("percent-encode '#' in user name and password as %23")
    if parts.scheme == "memory" and url.lower() != "memory://":
        raise ValueError("memory:// takes nothing behind it")
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        raise ValueError("write a socket as unix:///absolute/path, with three slashes")
    database_of(url)


def database_of(url: str) -> int:
    """The database a URL selects: option ``db`` before path, as redis-py reads it.

    Raises:
        ValueError: If that is not a number, or the options are malformed.
    """
    parts = urlsplit(url)
    path = "" if parts.scheme in ("unix", "memory") else parts.path.strip("/")
    text = _options(parts).get("db", path) or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the database must be a number, as in redis://host:6379/0")
    return int(text)


def _split_or_raise(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.port is None or parts.port > 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "host or port cannot be read; percent-encode '/', '?', '#', '@', '[' and ']' "
            "in user name and password"
        )
    return parts


def _options(parts: SplitResult) -> dict[str, str]:
    try:
        pairs = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    except ValueError:
        pairs = [("", "")]
    if any(not name for name, _ in pairs):
        raise ValueError("options are written ?name=value&name=value; write '?' itself as %3F")
    return dict(reversed(pairs))
