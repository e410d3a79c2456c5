"""`python -m race.local`, a few seconds long, and the proof that it finds what it looks for."""

from __future__ import annotations

from race.local import MarksOfTheReply, Setup, run


def test_no_process_serves_an_evicted_entry(redis_url: str) -> None:
    result = run(Setup((redis_url,)), 2.5, kill_every=0.8)
    assert result.violations == 0
    assert min(result.kept, result.evictions, result.kills) > 0


def test_control_with_marks_taken_after_the_reply_a_process_serves_an_evicted_entry(
    redis_url: str,
) -> None:
    setup = Setup((redis_url,), MarksOfTheReply, until_violated=True)
    assert run(setup, 60.0).violations > 0
