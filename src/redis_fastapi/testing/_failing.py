"""An in-memory Redis that fails on demand; needs fakeredis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import redis.exceptions
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

try:
    import fakeredis
except ImportError as error:
    raise ImportError(
        "redis_fastapi.testing needs fakeredis: pip install 'fastapi-redis-annotated[memory]'"
    ) from error

if TYPE_CHECKING:
    from redis.asyncio import Connection as _Connection
else:
    _Connection = object


class Trouble(Enum):
    """The fault to simulate."""

    NONE = "none"
    OUTAGE = "outage"
    SLOW = "slow"


class FailingServer:
    """An in-memory server with a simulated fault.

    Attributes:
        trouble: The fault, consulted by every connection of its failing clients.
    """

    def __init__(self) -> None:
        self.trouble = Trouble.NONE
        self._server = fakeredis.FakeServer()

    @contextmanager
    def having(self, trouble: Trouble) -> Iterator[None]:
        """Simulate this fault for the duration of a ``with``."""
        before, self.trouble = self.trouble, trouble
        try:
            yield
        finally:
            self.trouble = before

    def plain_client(self) -> SyncRedis:
        """A client that never fails."""
        client: SyncRedis = fakeredis.FakeRedis(server=self._server)
        return client

    def failing_client(self) -> Redis:
        """A client for one event loop, which fails as the server does."""
        client: Redis = fakeredis.FakeAsyncRedis(server=self._server)
        pool = client.connection_pool
        bases = (_FailingConnection, pool.connection_class)
        pool.connection_class = type("FailingConnection", bases, {"failing_server": self})
        return client


class _FailingConnection(_Connection):
    """Mixin for a fakeredis connection that fails as its server determines."""

    failing_server: FailingServer
    _greets = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A simulated fault does not pass: a retry would only wait.
        self.retry = Retry(NoBackoff(), 0)

    async def _connect(self) -> None:
        self._refuse_in_outage()
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's own, without types

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        self._greets = True
        try:
            await super().on_connect_check_health(check_health=check_health)
        finally:
            self._greets = False

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        self._refuse_in_outage()
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        if self.failing_server.trouble is Trouble.SLOW and not self._greets:
            # The unread reply must not be taken as that of the next command.
            await self.disconnect(nowait=True)
            raise redis.exceptions.TimeoutError("slow Redis: no reply before the deadline")
        return await super().read_response(*args, **options)

    def _refuse_in_outage(self) -> None:
        if self.failing_server.trouble is Trouble.OUTAGE:
            raise redis.exceptions.ConnectionError("outage: Redis refuses every connection")
