"""Runs where one library is installed and prints what it did, as JSON.

python -m peers.probe annotated                all situations
python -m peers.probe annotated burst          ten requests for one missing entry, on a signal
python -m peers.probe annotated run FILE       start the application that a file makes
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from peers.shop import Shelf

ENTRIES = 1_000
REQUESTS = 10
SIGNAL = "peers:go"
PAUSE_MS = 4_000
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was sent."""

    status: int
    headers: dict[str, str]
    body: str


class Client:
    """Sends requests to an application as a server would hand them over."""

    def __init__(self, app: FastAPI, state: Any) -> None:
        self.app = app
        self._state = dict(state or {})

    async def ask(self, method: str, path: str, **headers: str) -> Answer:
        """One request; an exception is what a server makes of it, a 500."""
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            await self.app(self._scope(method, path, headers), receive, send)
        except Exception as error:
            return Answer(500, {}, repr(error))
        fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], fields, body.decode())

    def _scope(self, method: str, path: str, headers: dict[str, str]) -> Any:
        path, _, query = path.partition("?")
        fields = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"shop.example"), *fields],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
            "state": self._state.copy(),
        }


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Client]:
    """Start an application and shut it down."""
    async with app.router.lifespan_context(app) as state:
        yield Client(app, state)


async def stranger(client: Client, shelf: Shelf, redis: Redis) -> str:
    await client.ask("GET", "/offers", authorization="Bearer ada")
    answer = await client.ask("GET", "/offers")
    return "refused" if answer.status in (401, 403) else "served"


async def users(client: Client, shelf: Shelf, redis: Redis) -> str:
    if getattr(client.app.state, "refused", False):
        return "refused at registration"
    await client.ask("GET", "/basket", authorization="Bearer ada")
    answer = await client.ask("GET", "/basket", authorization="Bearer grace")
    return "Grace's" if answer.body == '"grace"' else "Ada's"


async def header(client: Client, shelf: Shelf, redis: Redis) -> str:
    await client.ask("GET", "/greeting", accept_language="de")
    answer = await client.ask("GET", "/greeting", accept_language="fr")
    return "French" if answer.body == '"fr"' else "German"


async def keys(client: Client, shelf: Shelf, redis: Redis) -> str:
    await client.ask("GET", "/files/a/b")
    answer = await client.ask("GET", "/files/a:b")
    return "two entries" if answer.body == '"a:b"' else "one entry"


async def validator(client: Client, shelf: Shelf, redis: Redis) -> str:
    etag = (await client.ask("GET", "/items/1")).headers.get("etag")
    if etag is None:
        return "no ETag to send"
    return str((await client.ask("GET", "/items/1", if_none_match=etag)).status)


async def eviction(client: Client, shelf: Shelf, redis: Redis) -> str:
    for item in range(ENTRIES):
        await client.ask("GET", f"/items/{item}")
    await redis.config_resetstat()
    await client.ask("DELETE", "/items")
    stats = await redis.info("commandstats")
    calls = {
        name.removeprefix("cmdstat_").split("|")[0].upper(): stat["calls"]
        for name, stat in stats.items()
    }
    ignored = {"CONFIG", "INFO", "PING", "CLIENT", "HELLO", "SELECT", "AUTH"}
    return ", ".join(f"{n} {name}" for name, n in sorted(calls.items()) if name not in ignored)


async def race(client: Client, shelf: Shelf, redis: Redis) -> str:
    shelf.held = True
    slow = asyncio.create_task(client.ask("GET", "/price"))
    await shelf.reached.wait()
    shelf.price, shelf.held = 200, False
    await client.ask("DELETE", "/items")
    shelf.released.set()
    await slow
    answer = await client.ask("GET", "/price")
    return "the new value" if answer.body == "200" else "the old value"


async def hung(client: Client, shelf: Shelf, redis: Redis) -> str:
    await redis.execute_command("CLIENT", "PAUSE", PAUSE_MS)
    try:
        answer = await asyncio.wait_for(client.ask("GET", "/items/1"), PATIENCE_SECONDS)
        return "yes" if answer.status == 200 else str(answer.status)
    except (asyncio.TimeoutError, asyncio.CancelledError):
        return "no"


async def stopped(client: Client, shelf: Shelf, redis: Redis) -> str:
    # the server ends without a reply
    with suppress(RedisError):
        await redis.execute_command("SHUTDOWN", "NOSAVE")
    return str((await client.ask("GET", "/items/1")).status)


Situation = Callable[[Client, Shelf, Redis], Awaitable[str]]
SITUATIONS: tuple[Situation, ...] = (
    stranger,
    users,
    header,
    keys,
    race,
    eviction,
    validator,
    hung,
    stopped,
)
"""In this order: the last one ends the server."""


async def all_situations(build: Callable[[Shelf], FastAPI]) -> dict[str, str]:
    """What happens in each, on an empty server."""
    found = {}
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        for situation in SITUATIONS:
            await redis.flushall()
            shelf = Shelf()
            async with serving(build(shelf)) as client:
                found[situation.__name__] = await situation(client, shelf, redis)
    return found


async def burst(build: Callable[[Shelf], FastAPI]) -> int:
    """How often the endpoint runs in this process, one of several that get the request at once."""
    shelf = Shelf(held=True)
    async with (
        Redis.from_url(os.environ["REDIS_URL"]) as redis,
        serving(build(shelf)) as client,
    ):
        await redis.incr(f"{SIGNAL}:ready")
        await redis.execute_command("BLPOP", SIGNAL, 0)
        asked = [asyncio.create_task(client.ask("GET", "/price")) for _ in range(REQUESTS)]
        # long enough for all of them to reach Redis, wherever they wait then
        await asyncio.sleep(0.5)
        shelf.released.set()
        await asyncio.gather(*asked)
    return shelf.runs


async def run(source: str) -> None:
    """Start the application that a program makes, and request its first product."""
    namespace: dict[str, Any] = {"__name__": "documented"}
    exec(compile(source, "<documentation>", "exec"), namespace)
    async with serving(namespace["app"]) as client:
        states = [(await client.ask("GET", "/products/1")).status for _ in range(2)]
    assert states == [200, 200], states


def main(library: str, *order: str) -> None:
    """Carry out an order."""
    if order[:1] == ("run",):
        return asyncio.run(run(Path(order[1]).read_text()))
    build = import_module(f"peers.apps.{library}").build
    print(json.dumps(asyncio.run(burst(build) if order else all_situations(build))))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
