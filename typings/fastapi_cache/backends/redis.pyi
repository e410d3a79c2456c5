from redis.asyncio import Redis

class RedisBackend:
    def __init__(self, redis: Redis) -> None: ...
