"""The contenders: each an application, its environment and its settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

STATE = b"x-redis-cache"


class Place(NamedTuple):
    """Where a contender runs.

    Attributes:
        environment: Directory of its virtual environment.
        local: Whether the local tier is on.
        hiredis: Whether redis-py parses with it.
    """

    environment: str = "ours"
    local: bool = False
    hiredis: bool = True


HERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """An application at a place.

    Attributes:
        name: In the tables.
        app: Module below `benchmarks.apps`.
        place: Where it runs.
        states: What its header says of a hit and of a miss, by our names; empty where it says
            nothing.
        header: The header that says it.
    """

    name: str
    app: str
    place: Place = HERE
    states: Mapping[bytes, bytes] = field(default_factory=dict)
    header: bytes = STATE

    @property
    def is_peer(self) -> bool:
        """Whether it is another library."""
        return self.place.environment != HERE.environment

    def build(self, **shape: int) -> Any:
        """The application, made in this process."""
        return importlib.import_module(f"benchmarks.apps.{self.app}").build(**shape)


_OURS = {b"HIT": b"HIT", b"MISS": b"MISS"}

BARE = Contender(name="bare Response", app="bare")
STARLETTE = Contender(name="Starlette's route", app="starlette_route")
MIDDLEWARE = Contender(name="FastAPI's middleware", app="fastapi_middleware")
FASTAPI = Contender(name="FastAPI's route", app="fastapi_route")
GET = Contender(name="redis-py GET", app="round_trip")
PLAIN = Contender(name="plain endpoint", app="plain")
PLAIN_WITH_GETS = Contender(name="plain endpoint with 2 GETs", app="plain_with_gets")
UNMARKED = Contender(name="unmarked endpoint", app="unmarked")
BESIDE_CACHED = Contender(name="unmarked endpoint beside cached ones", app="beside_cached")
SIGNED_IN = Contender(name="dependencies alone", app="guarded")
SIGNED_IN_WITH_GET = Contender(name="dependencies and a GET", app="guarded_with_get")
MARKERS = Contender(name="markers", app="markers", states=_OURS)
WITHOUT_HIREDIS = Contender(
    name="markers, without hiredis", app="markers", place=Place(hiredis=False), states=_OURS
)
DEPENDS = Contender(name="Depends(cache())", app="depends", states=_OURS)
GUARDED = Contender(name="markers, signed in", app="signed_in", states=_OURS)
LOCAL = Contender(name="markers, local tier", app="markers", place=Place(local=True), states=_OURS)
SDK = Contender(name="fastapi-redis-sdk", app="depends", place=Place("sdk"), states=_OURS)
CASHEWS = Contender(name="cashews", app="by_cashews", place=Place("cashews"))
FASTAPI_CACHE = Contender(
    name="fastapi-cache2",
    app="by_fastapi_cache",
    place=Place("fastapi-cache"),
    states=_OURS,
    header=b"x-fastapi-cache",
)

CONTENDERS = (
    BARE, STARLETTE, MIDDLEWARE, FASTAPI, PLAIN, UNMARKED, BESIDE_CACHED, GET, PLAIN_WITH_GETS,
    SIGNED_IN, SIGNED_IN_WITH_GET, GUARDED, LOCAL, MARKERS, WITHOUT_HIREDIS, DEPENDS, SDK, CASHEWS,
    FASTAPI_CACHE,
)  # fmt: skip
OURS = (MARKERS, WITHOUT_HIREDIS, DEPENDS, LOCAL, GUARDED)


def contender_named(name: str) -> Contender:
    """The contender of this name; raises KeyError."""
    return {one.name: one for one in CONTENDERS}[name]
