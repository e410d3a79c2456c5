"""Cache-Control values to send (RFC 9111 section 5.2.2, RFC 5861, RFC 8246, RFC 9213)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .directives import DELTA_SECONDS_MAX, response_directives
from .fields import Headers, field_lines


def cache_control_value(
    *,
    max_age: int | None,
    private: bool = False,
    stale_while_revalidate: int = 0,
    stale_if_error: int = 0,
    s_maxage: int | None = None,
    immutable: bool = False,
    extra: Sequence[str] = (),
) -> bytes:
    """Build a Cache-Control value; all numbers are seconds.

    Without a lifetime (`max_age` None or 0) it is `no-cache`, or `max-age=0` next to `s_maxage`,
    without the directives that apply only to fresh responses. `private` takes precedence over
    `s_maxage`, which contradicts it.
    """
    directives = [b"private"] if private else []
    shared_age = None if private else s_maxage
    if max_age is not None and max_age > 0:
        directives += _lifetimes(max_age, stale_while_revalidate, stale_if_error)
        directives += [b"immutable"] if immutable else []
    else:
        directives.append(b"max-age=0" if shared_age else b"no-cache")
    if shared_age is not None:
        directives.append(_seconds(b"s-maxage", shared_age))
    return b", ".join([*directives, *(directive.encode() for directive in extra)])


def cdn_cache_control_value(*, max_age: int) -> bytes:
    """Build a CDN-Cache-Control value (RFC 9213); the lifetime is in seconds."""
    return _seconds(b"max-age", max_age)


def cache_control_to_send(headers: Headers, built: bytes, *, private: bool) -> bytes | None:
    """Return the Cache-Control to send, given the endpoint's own fields; None means no field.

    The endpoint's own Cache-Control or Expires is kept. If the response is for one user and the
    endpoint does not state who may store it, `private` is added.
    """
    own = b", ".join(value for value in field_lines(headers, b"cache-control") if value)
    if not own:
        expires = bool(field_lines(headers, b"expires"))
        return (b"private" if private else None) if expires else built
    directives = response_directives(headers)
    decided = directives.public or directives.private or directives.no_store
    if decided or directives.s_maxage is not None or not private:
        return own
    return own + b", private"


def _lifetimes(max_age: int, stale_while_revalidate: int, stale_if_error: int) -> Iterable[bytes]:
    yield _seconds(b"max-age", max_age)
    if stale_while_revalidate > 0:
        yield _seconds(b"stale-while-revalidate", stale_while_revalidate)
    if stale_if_error > 0:
        yield _seconds(b"stale-if-error", stale_if_error)


def _seconds(name: bytes, seconds: int) -> bytes:
    return b"%b=%d" % (name, min(max(seconds, 0), DELTA_SECONDS_MAX))
