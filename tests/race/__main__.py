"""The race as a command: `make race`, a table on standard output; 1 when it fails.

Rows of the full protocol have to show no violation, those with a rule switched off at least one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, replace
from math import inf
from typing import Any, NamedTuple

from race.harness import Result, Setup, migrate, race
from servers import RedisCluster3, RedisServer
from store_contract import (
    EvictionOfTheEntryAlone,
    GenerationsReadAtFill,
    RememberedByBytes,
    SoftEvictionsAlike,
    UnconditionalFill,
)

CONTROLS: dict[str, dict[str, Any]] = {
    "unconditional fill": {"kind": UnconditionalFill},
    "generations read at fill time": {"kind": GenerationsReadAtFill},
    "evict deletes only the entry": {"kind": EvictionOfTheEntryAlone},
    "soft evictions write the same bytes": {"kind": SoftEvictionsAlike},
    "known entries are found by their bytes alone": {"memory": RememberedByBytes},
}
CONTROL_SECONDS = 60.0


class Row(NamedTuple):
    """One line of the table."""

    name: str
    result: Result
    fails: bool


class Place(NamedTuple):
    """Where a race is run."""

    name: str
    setup: Setup
    moves: Iterable[None] = ()


def rows(seconds: float) -> Iterator[Row]:
    """The races, those of the full protocol first."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        cluster = stack.enter_context(RedisCluster3())
        spread = Setup(cluster.url, cluster=True)
        places = (
            Place("standalone", Setup(server.url, cluster=False)),
            Place("3 primaries", spread),
            Place("3 primaries, slots moving", spread, migrate(cluster)),
        )
        for name, setup, moves in places:
            yield passed(name, race(setup, seconds / len(places), moves=moves))
        for rule, changed in CONTROLS.items():
            for name, setup, moves in places:
                controlled = replace(setup, until_violated=True, **changed)
                result = race(controlled, CONTROL_SECONDS, kill_every=inf, moves=moves)
                yield violated(f"control: {rule}, {name}", result)


def passed(name: str, result: Result) -> Row:
    return Row(name, result, result.violations > 0)


def violated(name: str, result: Result) -> Row:
    return Row(name, result, result.violations == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the full protocol")
    seconds = parser.parse_args().seconds
    columns = ("lookups", "evicts", "puts", "kills", "moves", "violations")
    print(f"{'race':80}" + "".join(f"{column:>11}" for column in columns))
    failed = False
    for name, result, fails in rows(seconds):
        failed |= fails
        numbers = "".join(f"{number:>11}" for number in astuple(result))
        print(f"{name:80}{numbers}{'  FAILED' if fails else ''}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
