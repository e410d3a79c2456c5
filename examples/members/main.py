"""``uvicorn members.main:app``; the tokens are ``ada``, ``grace`` and ``linus``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from redis_fastapi import Cached, CacheEvict, CacheRoute, FastAPIRedis


class User(BaseModel):
    """Who is signed in."""

    name: str
    team: str


USERS = {
    "ada": User(name="ada", team="north"),
    "grace": User(name="grace", team="north"),
    "linus": User(name="linus", team="south"),
}
NOTES: dict[str, list[str]] = {}


def current_user(token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> User:
    """The owner of the token. It runs for every request, whatever is in the cache."""
    user = USERS.get(token.credentials)
    if user is None:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "unknown token")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
router = APIRouter(route_class=CacheRoute)


@router.get("/notes")
async def list_notes(
    user: CurrentUser,
) -> Annotated[list[str], Cached(ttl=300, vary="user.name", group="notes:{user.name}")]:
    """One entry a user, in a group of the user's own."""
    return NOTES.get(user.name, [])


@router.post("/notes", status_code=status.HTTP_201_CREATED)
async def add_note(
    text: str, user: CurrentUser
) -> Annotated[None, CacheEvict(group="notes:{user.name}")]:
    """Evicts this user's entry and no one else's."""
    NOTES.setdefault(user.name, []).append(text)


@router.get("/team")
async def list_team(user: CurrentUser) -> Annotated[list[str], Cached(ttl=300, vary="user.team")]:
    """One entry a team."""
    return [other.name for other in USERS.values() if other.team == user.team]


@router.get("/handbook")
async def get_handbook(user: CurrentUser) -> Annotated[str, Cached(ttl=3600, shared=True)]:
    """One entry, for every authenticated user."""
    return "Water first, then tea."


app = FastAPI(title="Members")
FastAPIRedis(app).lifespan()
app.include_router(router)
