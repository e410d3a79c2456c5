"""The messages between the parent and its workers, one JSON object per line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

Clock = Literal["wall", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to measure.

    Attributes:
        contender: Name of the contender.
        scenario: Name of the scenario.
        lanes: Requests under way at a time.
        seconds: For how long.
        shape: Arguments of the application's `build`.
        profile: Whether to run under cProfile instead of timing.
    """

    contender: str
    scenario: str
    lanes: int
    seconds: float
    shape: dict[str, int] = field(default_factory=dict)
    profile: bool = False

    def line(self) -> str:
        """As sent."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of an order.

    Attributes:
        requests: How many were answered.
        wall_seconds: How long that took, all lanes together; what of it counts in the scenario.
        cpu_seconds: What the process computed meanwhile; waiting costs none.
        strays: How many were answered otherwise than the scenario says.
        profile: The top of the profile, or nothing.
    """

    requests: int
    wall_seconds: float
    cpu_seconds: float
    strays: int
    profile: str = ""

    def microseconds(self, clock: Clock) -> float:
        """Per request."""
        seconds = self.cpu_seconds if clock == "cpu" else self.wall_seconds
        return seconds / self.requests * 1e6

    def line(self) -> str:
        """As sent."""
        return json.dumps(asdict(self)) + "\n"
