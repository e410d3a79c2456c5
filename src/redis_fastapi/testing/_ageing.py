"""Keys of a Redis brought nearer to their expiry, as if time had passed."""

from __future__ import annotations

from redis import Redis

from .._tokens import PASS, lease_kind


def age(redis: Redis, milliseconds: int) -> None:
    """Bring every key that may expire nearer to it, or to its end."""
    for key in _mortal_keys(redis):
        _age_key(redis, key, milliseconds)


def _mortal_keys(redis: Redis) -> list[bytes]:
    return [key for key in redis.keys("*") if not _is_held_lease(redis, key)]


def _is_held_lease(redis: Redis, key: bytes) -> bool:
    """Whether somebody computes under this key: a holder renews its lease while time passes."""
    if b":l:{" not in key:
        return False
    return lease_kind(redis.get(key) or PASS) != PASS


def _age_key(redis: Redis, key: bytes, milliseconds: int) -> None:
    left = redis.pttl(key)
    if left < 0:
        return
    if left > milliseconds:
        redis.pexpire(key, left - milliseconds)
    else:
        redis.delete(key)
