"""Who is compared. A column of the table is an entry of `CONTENDERS`."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """An application in an environment.

    Attributes:
        name: In the table.
        app: Module below `benchmarks.apps`.
        python_variable: Environment variable with the interpreter that has its library; None is the
            one that runs the benchmark.
        caches: Whether it has a cache.
    """

    name: str
    app: str
    python_variable: str | None = None
    caches: bool = True

    @property
    def is_peer(self) -> bool:
        """Whether it is another library."""
        return self.python_variable is not None


CONTENDERS = (
    Contender(name=PLAIN, app="plain", caches=False),
    Contender(name="markers", app="markers"),
    Contender(name="Depends", app="depends"),
    Contender(name="SDK", app="depends", python_variable="SDK_PYTHON"),
)

OURS = tuple(one.name for one in CONTENDERS if one.caches and not one.is_peer)
