"""The scenarios: kinds of requests to the applications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .catalogue import product_of
from .contenders import (
    BARE,
    CASHEWS,
    DEPENDS,
    FASTAPI,
    FASTAPI_CACHE,
    GET,
    GUARDED,
    LOCAL,
    MARKERS,
    MIDDLEWARE,
    PLAIN,
    PLAIN_WITH_GETS,
    SDK,
    SIGNED_IN,
    SIGNED_IN_WITH_GET,
    STARLETTE,
    UNMARKED,
    WITHOUT_HIREDIS,
    Contender,
)
from .driver import Header, Request

PRODUCT = "/shop/products/{number}"
PRODUCTS = "/shop/products"

# A goal compares neighbours where it can: the machine's mood lasts for a second or so.
_CACHES = (MARKERS, LOCAL, SDK, DEPENDS, CASHEWS, FASTAPI_CACHE)
_FULL = (MARKERS, DEPENDS, SDK)
"""Those with puts and evictions declared at the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request, and how to tell that it was answered as it should be.

    Attributes:
        name: In the tables.
        contenders: Who takes part.
        method: Of the request.
        path: Of the request, with the place of the product's number.
        size: Bytes of the answer to a GET.
        status: Expected of an application with a cache; without one it is always 200.
        state: Whether it is a hit or a miss, in our words; None where it does not matter.
        afterwards: What a GET after the last request is.
        fresh: Whether every request names a product that none has named before.
        conditional: Whether the request says which entity tag it knows.
        sends_product: Whether the request has a product as its body.
        until_answered: Whether to time what a client waits for, without the work that goes on
            when the answer is sent; the computing of that work counts all the same.
    """

    name: str
    contenders: tuple[Contender, ...]
    method: str = "GET"
    path: str = PRODUCT
    size: int = 500
    status: int = 200
    state: bytes | None = None
    afterwards: bytes = b"HIT"
    fresh: bool = False
    conditional: bool = False
    sends_product: bool = False
    until_answered: bool = False

    def request(self, number: int, etag: bytes | None) -> Request:
        """The request for one product."""
        headers: tuple[Header, ...] = ()
        body = b""
        if self.conditional and etag is not None:
            headers = ((b"if-none-match", etag),)
        if self.sends_product:
            body = product_of(number, self.size).model_dump_json().encode()
            headers += (
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            )
        return Request(self.method, self.path.format(number=number), headers, body)

    def requests(self, number: int, etag: bytes | None, new: Callable[[], int]) -> Requests:
        """Gives the next request of a lane; `new` gives numbers never given before."""
        if self.fresh:
            return lambda: self.request(new(), None)
        only = self.request(number, etag)
        return lambda: only


Requests = Callable[[], Request]

HIT = Scenario(
    name="HIT",
    contenders=(
        CASHEWS,
        FASTAPI_CACHE,
        WITHOUT_HIREDIS,
        GET,
        SIGNED_IN,
        SIGNED_IN_WITH_GET,
        GUARDED,
        FASTAPI,
        UNMARKED,
        PLAIN,
        MARKERS,
        SDK,
        DEPENDS,
        LOCAL,
        STARLETTE,
        BARE,
        MIDDLEWARE,
    ),
    state=b"HIT",
)
NOT_MODIFIED = Scenario(
    name="304",
    contenders=(BARE, STARLETTE, LOCAL, SDK, MARKERS, DEPENDS, FASTAPI_CACHE),
    status=304,
    conditional=True,
)
LARGE_HIT = Scenario(
    name="HIT of 50 KB",
    contenders=(LOCAL, BARE, PLAIN, MARKERS, SDK, DEPENDS, CASHEWS, FASTAPI_CACHE),
    size=50_000,
    state=b"HIT",
)
MISS = Scenario(
    name="MISS",
    contenders=(GET, PLAIN, PLAIN_WITH_GETS, *_CACHES),
    state=b"MISS",
    fresh=True,
    until_answered=True,
)

SCENARIOS = (
    HIT,
    LARGE_HIT,
    MISS,
    NOT_MODIFIED,
    Scenario(name="put", contenders=(PLAIN, *_FULL), method="PUT", sends_product=True),
    Scenario(name="evict one", contenders=(PLAIN, *_FULL), method="DELETE", afterwards=b"MISS"),
    Scenario(
        name="evict group",
        contenders=(PLAIN, *_FULL),
        method="DELETE",
        path=PRODUCTS,
        afterwards=b"MISS",
    ),
)


def scenario_named(name: str) -> Scenario:
    """The scenario of this name; raises KeyError."""
    return {scenario.name: scenario for scenario in SCENARIOS}[name]
