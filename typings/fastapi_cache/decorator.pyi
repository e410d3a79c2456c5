from collections.abc import Callable
from typing import TypeVar

_F = TypeVar("_F", bound=Callable[..., object])

def cache(expire: int, *, namespace: str) -> Callable[[_F], _F]: ...
