from .backends.redis import RedisBackend

class FastAPICache:
    @classmethod
    def init(cls, backend: RedisBackend, prefix: str = ...) -> None: ...
    @classmethod
    async def clear(cls, namespace: str | None = ...) -> int: ...
