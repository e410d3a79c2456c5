"""Who is asking: the bearer token of a seeded user.

These dependencies run for every request, also for those that the cache then answers.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .db import DatabaseDep
from .models import User
from .seed import token_digest

bearer = HTTPBearer(auto_error=False)


async def get_current_user(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    database: DatabaseDep,
) -> User:
    """The owner of the token; 401 without a valid one."""
    digest = token_digest(credentials.credentials if credentials else "")
    row = await database.row("SELECT id, name, staff FROM user WHERE token_digest = ?", digest)
    if row is None:
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED, "unknown token", {"WWW-Authenticate": "Bearer"}
        )
    return User.model_validate(row)


CurrentUser = Annotated[User, Depends(get_current_user)]
"""The signed-in user."""


async def require_staff(user: CurrentUser) -> None:
    """Let staff pass; 403 for everyone else."""
    if not user.staff:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "staff only")


staff_only = Depends(require_staff)
"""Guard for ``dependencies=[...]``."""
