"""Servers that fail over."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from redis.exceptions import ConnectionError, ResponseError

from servers import LOOPBACK, RedisServer, wait_until

COPIED_AT_ONCE = ("--repl-diskless-sync-delay", "0")
"""A primary does not wait 5 s for further replicas."""


class FailingOver:
    """A primary, its replica and a sentinel."""

    def __init__(self, stack: ExitStack) -> None:
        self.primary = stack.enter_context(RedisServer(*COPIED_AT_ONCE))
        link = ("--replicaof", f"{LOOPBACK} {self.primary.port}", *COPIED_AT_ONCE)
        self.replica = stack.enter_context(RedisServer(*link))
        self.sentinel = stack.enter_context(
            RedisServer(
                sentinel=(
                    f"sentinel monitor mymaster {LOOPBACK} {self.primary.port} 1",
                    "sentinel down-after-milliseconds mymaster 500",
                    "sentinel failover-timeout mymaster 2000",
                )
            )
        )
        self._hurry()
        wait_until(self._knows_replica, what="a sentinel that knows the replica")
        wait_until(self._confirms, what="a replica that confirms writes")

    def _hurry(self) -> None:
        # A sentinel asks for roles every 10 s, and trusts one after four times its other period.
        periods = ("INFO-PERIOD", 500, "PUBLISH-PERIOD", 200)
        with suppress(ResponseError):  # before Redis 7
            self.sentinel.command("SENTINEL", "DEBUG", *periods)

    def change(self) -> None:
        """Let the sentinel promote the replica while the primary is well."""
        self.sentinel.command("SENTINEL", "FAILOVER", "mymaster")
        wait_until(self._is_replica, what="a primary that is a replica now")

    def _is_replica(self) -> bool:
        try:
            return bool(self.primary.command("ROLE")[0] == "slave")
        except ConnectionError:  # a primary that is demoted drops its clients
            return False

    def _knows_replica(self) -> bool:
        known = str(self.sentinel.command("SENTINEL", "REPLICAS", "mymaster"))
        return str(self.replica.port) in known and "'ok'" in known  # as for its link

    def _confirms(self) -> bool:
        # A replica that calls its link up may still be waiting for its first copy.
        return bool(self.primary.command("WAIT", 1, 1))
