"""Brings the keys of a Redis closer to their expiry, as if time had passed."""

from __future__ import annotations

from redis import Redis

from .._redis.tokens import PASS, lease_kind


def age(redis: Redis, milliseconds: int) -> None:
    """Bring every key with an expiry closer to it, or delete it."""
    for key in _mortal_keys(redis):
        _age_key(redis, key, milliseconds)


def _mortal_keys(redis: Redis) -> list[bytes]:
    return [key for key in redis.keys("*") if not _is_held_lease(redis, key)]


def _is_held_lease(redis: Redis, key: bytes) -> bool:
    """Whether a key is a lease with a holder, which would renew it while time passes."""
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
