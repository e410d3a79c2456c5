"""Servers that fail over."""

from __future__ import annotations

from contextlib import ExitStack

from redis.exceptions import ConnectionError

from servers import LOOPBACK, RedisServer, wait_until


class FailingOver:
    """A primary, its replica and a sentinel."""

    def __init__(self, stack: ExitStack) -> None:
        self.primary = stack.enter_context(RedisServer())
        link = ("--replicaof", f"{LOOPBACK} {self.primary.port}", "--repl-diskless-sync-delay", "0")
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
        wait_until(self._knows_replica, what="a sentinel that knows the replica")
        wait_until(self._confirms, what="a replica that confirms writes")

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
        known = self.sentinel.command("SENTINEL", "REPLICAS", "mymaster")
        return str(self.replica.port) in str(known)

    def _confirms(self) -> bool:
        # A replica that calls its link up may still be waiting for its first copy.
        return bool(self.primary.command("WAIT", 1, 1))
