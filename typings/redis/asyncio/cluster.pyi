# Replies are bytes: no client that we make decodes them, except to print what it got.
from collections.abc import Awaitable
from typing import Any

from redis.cluster import LoadBalancingStrategy
from redis.typing import EncodableT, KeyT
from typing_extensions import Self

from .connection import Connection

class ClusterNode:
    name: str
    connection_class: type[Connection]
    connection_kwargs: dict[str, Any]
    async def execute_command(self, *args: EncodableT, **options: Any) -> Any: ...

class NodesManager:
    startup_nodes: dict[str, ClusterNode]
    slots_cache: dict[int, list[ClusterNode]]

class RedisCluster:
    connection_kwargs: dict[str, Any]
    nodes_manager: NodesManager
    read_from_replicas: bool
    def __init__(
        self,
        host: str | None = ...,
        port: int = ...,
        *,
        load_balancing_strategy: LoadBalancingStrategy | None = ...,
    ) -> None: ...
    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> None: ...
    async def aclose(self) -> None: ...
    async def initialize(self) -> Self: ...
    def get_primaries(self) -> list[ClusterNode]: ...
    # redis-py says str; CRC16 is made of the bytes
    def get_node_from_key(self, key: KeyT) -> ClusterNode | None: ...
    def keyslot(self, key: KeyT) -> int: ...
    async def execute_command(self, *args: EncodableT, **options: Any) -> Any: ...
    def get(self, name: KeyT) -> Awaitable[bytes | None]: ...
    def set(self, name: KeyT, value: EncodableT) -> Awaitable[bool | None]: ...
