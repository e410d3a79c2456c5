"""What is asked of the applications. A row of the table is an entry of `SCENARIOS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .catalogue import product_of
from .driver import Header, Request

PRODUCT = "/shop/products/{number}"
PRODUCTS = "/shop/products"
STATE = b"x-redis-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request, and how to tell that it was answered as it should be.

    Attributes:
        name: In the table.
        method: Of the request.
        path: Of the request, with the place of the product's number.
        size: Bytes of the answer to a GET.
        status: Expected of an application with a cache; without one it is always 200.
        state: Expected ``X-Redis-Cache``, or None where it does not matter.
        afterwards: Expected ``X-Redis-Cache`` of a GET after the last request.
        fresh: Whether every request names a product that none has named before.
        conditional: Whether the request says which entity tag it knows.
        sends_product: Whether the request has a product as its body.
        turns: Measurements a round; several where a verdict depends on them.
    """

    name: str
    method: str = "GET"
    path: str = PRODUCT
    size: int = 500
    status: int = 200
    state: bytes | None = None
    afterwards: bytes = b"HIT"
    fresh: bool = False
    conditional: bool = False
    sends_product: bool = False
    turns: int = 1

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

HIT = "HIT"

SCENARIOS = (
    Scenario(name=HIT, state=b"HIT", turns=4),
    Scenario(name="304", status=304, conditional=True),
    Scenario(name="MISS", state=b"MISS", fresh=True),
    Scenario(name="put", method="PUT", sends_product=True),
    Scenario(name="evict one", method="DELETE", afterwards=b"MISS"),
    Scenario(name="evict group", method="DELETE", path=PRODUCTS, afterwards=b"MISS"),
)


def scenario_named(name: str) -> Scenario:
    """The scenario of this name; raises KeyError."""
    return {scenario.name: scenario for scenario in SCENARIOS}[name]
