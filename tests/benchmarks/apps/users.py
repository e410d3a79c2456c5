"""Who signs in, as an application would say it; shared by the guarded ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel


class User(BaseModel):
    """Who asks."""

    id: int


async def current_user(
    token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> User:
    """The user whose number the token is."""
    if not token.credentials.isdigit():
        raise HTTPException(401)
    return User(id=int(token.credentials))


CurrentUser = Annotated[User, Depends(current_user)]
