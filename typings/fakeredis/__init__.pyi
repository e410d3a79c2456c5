import redis
import redis.asyncio
from redis.asyncio.retry import Retry

class FakeServer:
    connected: bool

class FakeRedis(redis.Redis):
    def __init__(self, *, server: FakeServer = ...) -> None: ...

class FakeAsyncRedis(redis.asyncio.Redis):
    def __init__(self, *, server: FakeServer = ..., retry: Retry | None = ...) -> None: ...
