"""The README's comparison, for this library; `make peers` runs the others."""

from __future__ import annotations

import pytest

from documentation import README
from peers.__main__ import LIBRARIES, ROWS, asked
from servers import redis_server_available


def test_the_comparison_shows_what_this_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := redis_server_available():
        pytest.skip(reason)
    # a busy machine may answer late; the table allows two seconds
    monkeypatch.setenv("REDIS_DEADLINE", "1")
    text = README.read_text()
    for row, answer in asked(LIBRARIES[0]).items():
        assert f"| {ROWS[row]} | {answer} |" in text
