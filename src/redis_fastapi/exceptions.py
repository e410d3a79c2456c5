"""Every error this library raises on purpose.

CacheError
├── CacheDeclarationError   (TypeError)     a marker or dependency that cannot mean what it says
├── CacheSettingsError      (ValueError)    a ``REDIS_*`` value that cannot be used
├── CacheSetupError         (RuntimeError)  something the application has not set up
└── CacheUnavailableError                   Redis did not answer; never reaches a client
"""

from __future__ import annotations


class CacheError(Exception):
    """Base of all errors of this library."""


class CacheDeclarationError(CacheError, TypeError):
    """A declaration is wrong; raised at registration or at start-up, never during a request.

    Attributes:
        code: Name of the rule, the same that the mypy plugin reports.
        route: The route as a reader would look for it, for example ``GET /products/{id}
            (get_product)``.
        problem: What is wrong and why.
        fix: The line to write instead.
    """

    def __init__(self, *, code: str, route: str, problem: str, fix: str) -> None:
        self.code = code
        self.route = route
        self.problem = problem
        self.fix = fix
        super().__init__(f"{route}: {problem} [{code}]\n  Write instead: {fix}")


class CacheSettingsError(CacheError, ValueError):
    """One or more ``REDIS_*`` settings cannot be used; the message names each variable."""


class CacheSetupError(CacheError, RuntimeError):
    """The application lacks something it needs; the message is the line to add."""


class CacheUnavailableError(CacheError):
    """Redis refused, failed or did not answer in time; the caller goes on without the cache."""
