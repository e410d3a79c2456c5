"""Every error this library raises on purpose.

CacheError
├── CacheDeclarationError   (TypeError)     a marker or dependency that breaks a rule
├── CacheSettingsError      (ValueError)    an invalid ``REDIS_*`` value
├── CacheSetupError         (RuntimeError)  something the application has not set up
└── CacheUnavailableError                   Redis did not reply; never reaches a client
"""

from __future__ import annotations


class CacheError(Exception):
    """Base of all errors of this library."""


class CacheDeclarationError(CacheError, TypeError):
    """A declaration is wrong; raised at registration or at start-up, never during a request.

    Attributes:
        code: Code of the rule, as the mypy plugin reports it.
        route: The route as it would be searched for, for example ``GET /products/{id}
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
    """One or more ``REDIS_*`` settings are invalid; the message names each variable."""


class CacheSetupError(CacheError, RuntimeError):
    """The application lacks something it needs; the message is the line to add."""


class CacheUnavailableError(CacheError):
    """Redis refused, failed or did not reply in time; the caller continues without the cache."""
