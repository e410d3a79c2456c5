from collections.abc import Callable
from typing import TypeVar

_F = TypeVar("_F", bound=Callable[..., object])

class Cache:
    def setup(self, settings_url: str) -> object: ...
    async def close(self) -> None: ...
    def __call__(self, ttl: str, *, key: str) -> Callable[[_F], _F]: ...

cache: Cache
