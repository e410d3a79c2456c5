from typing import Any

from .client import Redis
from .connection import ConnectionPool

class SentinelConnectionPool(ConnectionPool):
    sentinel_manager: Sentinel

class Sentinel:
    sentinels: list[Redis]
    def __init__(
        self, sentinels: list[tuple[str, int]], *, sentinel_kwargs: dict[str, Any] | None = ...
    ) -> None: ...
    def master_for(self, service_name: str, **connection_kwargs: Any) -> Redis: ...
