"""Why a response is not stored, or was computed without the cache."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Reasons by name; Cache-Status, logs and metrics use the same names."""

    STATUS = "status"
    PARTIAL_CONTENT = "partial-content"
    UNFINISHED = "unfinished"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    NO_CACHE = "no-cache"
    PRIVATE = "private"
    STALE = "stale"
    VARY = "vary"
    VARY_STAR = "vary-star"
    MALFORMED_HEADER = "malformed-header"
    HEADERS_TOO_LARGE = "headers-too-large"
    BODY_TOO_LARGE = "body-too-large"
    WHEN = "when"
    """The marker's `when` returned false."""
    FORM = "form"
    """The endpoint reads a form, which is not part of any key."""
    UNKNOWN_SECURITY_SCHEME = "unknown-security-scheme"
    """It is unknown what the security scheme reads from the request."""
    NO_KEY = "no-key"
    """A key builder or an attribute raised."""
    ONLY_IF_CACHED = "only-if-cached"
    """The client accepts only a stored response, and there is none."""
    FAILED = "failed"
    """The endpoint raised."""
    UNAVAILABLE = "unavailable"
    """Redis did not reply."""
    WRITING = "writing"
    """A write held the lease for as long as the lookup may wait."""
    UNSTORABLE = "unstorable"
    """A response just now could not be stored, so lookups do not wait for the next one."""
    CONTENDED = "contended"
    """The generations changed at every attempt to claim the lease."""
