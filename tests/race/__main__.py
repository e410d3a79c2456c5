"""The race as a command: `make race`, a table on standard output; 1 when it fails.

Rows of the full protocol have to show no violation, those with a rule switched off at least one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from race.harness import Result, Setup, migrate, race
from servers import RedisCluster3, RedisServer
from store_contract import (
    EvictionOfTheEntryAlone,
    GenerationsReadAtFill,
    UnconditionalFill,
)

CONTROLS = {
    "control: unconditional fill": UnconditionalFill,
    "control: generations read at fill time": GenerationsReadAtFill,
    "control: evict deletes only the entry": EvictionOfTheEntryAlone,
}
CONTROL_SECONDS = 20.0


class Row(NamedTuple):
    """One line of the table."""

    name: str
    result: Result
    fails: bool


def rows(seconds: float) -> Iterator[Row]:
    """The races, three of the full protocol first."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        cluster = stack.enter_context(RedisCluster3())
        alone, spread = partial(Setup, server.url, False), partial(Setup, cluster.url, True)
        share = seconds / 3
        yield passed("standalone", race(alone(), share))
        yield passed("3 primaries", race(spread(), share))
        moving = partial(migrate, cluster)
        yield passed("3 primaries, slots moving", race(spread(), share, meanwhile=moving))
        for name, kind in CONTROLS.items():
            for place, setup in (("standalone", alone), ("3 primaries", spread)):
                controlled = setup(kind=kind, until_violated=True)
                yield violated(f"{name}, {place}", race(controlled, CONTROL_SECONDS))


def passed(name: str, result: Result) -> Row:
    return Row(name, result, result.violations > 0)


def violated(name: str, result: Result) -> Row:
    return Row(name, result, result.violations == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the full protocol")
    seconds = parser.parse_args().seconds
    print(f"{'race':54}{'look-ups':>9}{'evicts':>8}{'puts':>7}{'kills':>6}{'violations':>11}")
    failed = False
    for name, result, fails in rows(seconds):
        failed |= fails
        print(
            f"{name:54}{result.look_ups:>9}{result.evictions:>8}{result.puts:>7}"
            f"{result.kills:>6}{result.violations:>11}{'  FAILED' if fails else ''}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
