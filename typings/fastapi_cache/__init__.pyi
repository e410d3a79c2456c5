from .backends.redis import RedisBackend

class FastAPICache:
    @classmethod
    def init(cls, backend: RedisBackend) -> None: ...
