"""What the applications of all libraries share: users, and rows that a test may change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer


def current_user(token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Who is signed in: the token is the name."""
    return token.credentials


CurrentUser = Annotated[str, Depends(current_user)]


@dataclass
class Shelf:
    """A price, and a reader that can be held back between reading and answering it."""

    price: int = 100
    held: bool = False
    runs: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> int:
        """The price as it was at the beginning."""
        price, self.runs = self.price, self.runs + 1
        if self.held:
            self.reached.set()
            await self.released.wait()
        return price
