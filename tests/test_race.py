"""The race of `make race`, a few seconds long, and the proof that it finds what it looks for."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from race.harness import Setup, migrate, race
from servers import RedisCluster3
from store_contract import (
    EvictionOfTheEntryAlone,
    GenerationsReadAtFill,
    RememberedByBytes,
    UnconditionalFill,
)


def test_racing_processes_never_read_what_was_evicted(redis_url: str) -> None:
    result = race(Setup(redis_url, cluster=False), 2.0, kill_every=0.8)
    assert result.violations == 0
    assert min(result.look_ups, result.evictions, result.puts, result.kills) > 0


def test_racing_processes_never_read_what_was_evicted_while_slots_move(
    redis_cluster: RedisCluster3,
) -> None:
    moves = migrate(redis_cluster)
    result = race(Setup(redis_cluster.url, cluster=True), 3.0, kill_every=1.3, moves=moves)
    assert result.violations == 0
    assert min(result.look_ups, result.evictions, result.puts, result.kills, result.moves) > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": UnconditionalFill},
        {"kind": GenerationsReadAtFill},
        {"kind": EvictionOfTheEntryAlone},
        {"memory": RememberedByBytes},
    ],
)
def test_control_racing_processes_without_a_rule_read_what_was_evicted(
    redis_url: str, changed: dict[str, Any]
) -> None:
    # Without kills: on a busy machine a new process takes longer to begin than a race to be lost.
    setup = Setup(redis_url, cluster=False, until_violated=True, **changed)
    assert race(setup, 60.0, kill_every=inf).violations > 0
