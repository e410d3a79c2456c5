"""Bodies as stored with ``REDIS_COMPRESSION``: zstd frames with a checksum."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..exceptions import CacheSetupError

Compress = Callable[[bytes], bytes]

_LEVEL = 1


def compressor(name: str | None) -> Compress | None:
    """What compresses bodies in the way of this name; None for no name.

    Raises:
        CacheSetupError: If the package for it is not installed.
    """
    if name is None:
        return None
    zstandard = _zstandard()
    if zstandard is None:
        raise CacheSetupError(
            "REDIS_COMPRESSION=zstd needs zstandard: "
            "pip install 'fastapi-redis-annotated[compression]'"
        )

    def compress(body: bytes) -> bytes:
        # one for each call: fills of several event loops may run at once
        packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        packed: bytes = packer.compress(body)
        return packed

    return compress


def decompressed(packed: bytes) -> bytes | None:
    """The body again; None where it is damaged, or the package for it is not installed."""
    zstandard = _zstandard()
    if zstandard is None:
        return None
    # grows with what is there, whatever size a damaged frame claims
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    try:
        body: bytes = unpacker.decompress(packed)
    except zstandard.ZstdError:
        return None
    return body if unpacker.eof and not unpacker.unused_data else None


@lru_cache(maxsize=1)
def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        return None
