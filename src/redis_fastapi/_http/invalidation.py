"""The paths that an unsafe request invalidates (RFC 9111 section 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from .fields import Headers, singleton

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""Methods that change nothing (RFC 9110 section 9.2.1, RFC 10008); all others may."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def invalidation_targets(
    method: str, status: int, headers: Headers, *, scheme: str, host: str, path: str
) -> tuple[str, ...]:
    """Return the decoded paths whose stored responses a request invalidates, each once.

    These are its own path, and the paths that Location and Content-Location name if they have the
    same origin; none for a safe method or an error.

    Args:
        method: Of the request, in upper case.
        status: Of the response.
        headers: Of the response.
        scheme: Of the target URI.
        host: Of the target URI, with its port if it has one.
        path: Of the target URI, decoded.
    """
    if method in SAFE_METHODS or not 200 <= status < 400:
        return ()
    base = f"{scheme}://{host}{quote(path, errors='replace')}"
    return tuple(dict.fromkeys([path, *_named_paths(headers, base)]))


def _named_paths(headers: Headers, base: str) -> Iterator[str]:
    for name in (b"location", b"content-location"):
        if (reference := singleton(headers, name)) is None:
            continue
        path = _path_on_same_origin(reference.decode("utf-8", "replace"), base)
        if path is not None:
            yield path


def _path_on_same_origin(reference: str, base: str) -> str | None:
    try:
        target = urljoin(base, reference)
        if _origin(target) != _origin(base):
            return None
        return unquote(urlsplit(target).path) or "/"
    except ValueError:
        return None


def _origin(uri: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(uri)
    port = parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port
