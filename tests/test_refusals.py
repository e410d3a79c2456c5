"""Operations that a reachable Redis refuses are logged when that begins and when it ends."""

from __future__ import annotations

import pytest
from redis.exceptions import ClusterDownError, NoPermissionError, OutOfMemoryError

from redis_fastapi._engine.refusals import Operation, Refusals
from redis_fastapi._redis.transport import reply_or_raise
from redis_fastapi.exceptions import CacheUnavailableError


class Steady:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refusals = Refusals(lambda: self.now)

    def refuse(
        self, operation: Operation = Operation.FILL, why: type[Exception] = OutOfMemoryError
    ) -> None:
        with pytest.raises(CacheUnavailableError) as raised:
            reply_or_raise(why("no"))
        self.refusals.refused(operation, raised.value)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_refusal_is_logged_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Steady()
    for _ in range(3):
        clock.refuse()
        clock.refusals.granted(Operation.FILL)
    clock.now = 60.0
    for _ in range(3):
        clock.refusals.granted(Operation.FILL)
    assert said(caplog) == ["Redis refuses entries: no", "Redis takes entries again"]
    clock.refuse()
    assert len(said(caplog)) == 3


def test_each_kind_of_operation_is_tracked_separately(caplog: pytest.LogCaptureFixture) -> None:
    clock = Steady()
    clock.refuse(Operation.FILL)
    clock.refuse(Operation.EVICTION, NoPermissionError)
    clock.now = 60.0
    clock.refusals.granted(Operation.LOOK_UP)
    clock.refusals.granted(Operation.EVICTION)
    assert said(caplog)[2:] == ["Redis takes evictions again"]


def test_a_refusal_that_passes_by_itself_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Steady()
    clock.refuse(why=ClusterDownError)
    clock.refusals.refused(Operation.FILL, CacheUnavailableError("no reply in time"))
    assert said(caplog) == []
