"""Whether a stored content coding may be sent to a client (RFC 9110 section 12.5.3)."""

from __future__ import annotations

import re
from typing import Final

from .fields import OWS, Headers, is_token, list_elements

_ALIASES: Final = {b"x-gzip": b"gzip", b"x-compress": b"compress"}
_QVALUE: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def encoding_acceptable(request_headers: Headers, headers: Headers) -> bool:
    """Whether the client accepts every content coding of a stored response.

    An uncoded response may always be sent, since there is no better one for a client that refuses
    it. A coded one is never sent to a client without Accept-Encoding, although the RFC allows it.
    """
    if b"content-encoding" not in [name for name, _ in headers]:
        return True
    codings = _content_codings(headers)
    accepted = _accepted_codings(request_headers)
    fallback = accepted.get(b"*", False)
    return all(accepted.get(coding, fallback) for coding in codings)


def _content_codings(headers: Headers) -> set[bytes]:
    codings = {_canonical(coding) for coding in list_elements(headers, b"content-encoding")}
    return codings - {b"identity"}


def _accepted_codings(request_headers: Headers) -> dict[bytes, bool]:
    accepted: dict[bytes, bool] = {}
    for element in list_elements(request_headers, b"accept-encoding"):
        coding, *parameters = element.split(b";")
        name = _canonical(coding.strip(OWS))
        if is_token(name):
            accepted[name] = accepted.get(name, True) and _wanted(parameters)
    return accepted


def _wanted(parameters: list[bytes]) -> bool:
    for parameter in parameters:
        name, _, weight = parameter.partition(b"=")
        if name.strip(OWS).lower() == b"q":
            return _is_positive(weight.strip(OWS))
    return True


def _is_positive(weight: bytes) -> bool:
    return _QVALUE.fullmatch(weight) is not None and weight.strip(b"0.") != b""


def _canonical(coding: bytes) -> bytes:
    lowered = coding.lower()
    return _ALIASES.get(lowered, lowered)
