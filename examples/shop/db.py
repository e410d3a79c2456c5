"""The shop's SQLite file: one connection a process, and every write a single statement.

A statement commits when it ends. So a row is committed before the endpoint returns, and that is
before anything is evicted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiosqlite
from fastapi import Depends

from . import seed

SCHEMA = """
CREATE TABLE category (slug TEXT PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE product (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    category TEXT NOT NULL REFERENCES category,
    price INTEGER NOT NULL CHECK (price >= 0),
    stock INTEGER NOT NULL DEFAULT 0 CHECK (stock >= 0),
    description TEXT NOT NULL
);
CREATE INDEX product_by_category ON product (category);
CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    token_digest TEXT NOT NULL UNIQUE,
    staff INTEGER NOT NULL
);
CREATE TABLE basket_item (
    user_id INTEGER NOT NULL REFERENCES user,
    product_id INTEGER NOT NULL REFERENCES product ON DELETE CASCADE,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (user_id, product_id)
);
"""

IntegrityError = aiosqlite.IntegrityError
"""A row that the schema does not allow: a name taken, a category that does not exist."""


def database_path() -> Path:
    """``SHOP_DB``, else a file in the temporary directory; all workers of a user share it."""
    user = os.getuid() if hasattr(os, "getuid") else "shop"
    default = Path(tempfile.gettempdir()) / f"redis-fastapi-shop-{user}.sqlite3"
    return Path(os.environ.get("SHOP_DB") or default)


class Database:
    """A connection for the time of the lifespan."""

    def __init__(self) -> None:
        self._connection: aiosqlite.Connection | None = None

    @asynccontextmanager
    async def opened(self, path: Path) -> AsyncIterator[None]:
        """Connect, and fill a new file with the seed rows."""
        async with aiosqlite.connect(path, isolation_level=None) as connection:
            connection.row_factory = aiosqlite.Row
            await connection.execute("PRAGMA foreign_keys = ON")
            await _create_once(connection)
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None

    async def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """All rows of a statement, by column name."""
        assert self._connection is not None, "the lifespan opens the database"
        found: Iterable[Any] = await self._connection.execute_fetchall(sql, values)
        return [dict(row) for row in found]

    async def row(self, sql: str, *values: Any) -> dict[str, Any] | None:
        """The first row of a statement, or None."""
        found = await self.rows(sql, *values)
        return found[0] if found else None


async def _create_once(connection: aiosqlite.Connection) -> None:
    """Create and fill the tables, in one transaction: workers that start together do it once."""
    await connection.execute("BEGIN IMMEDIATE")
    (version,) = next(iter(await connection.execute_fetchall("PRAGMA user_version")))
    if version == 0:
        for statement in filter(str.strip, SCHEMA.split(";")):
            await connection.execute(statement)
        await _fill(connection)
        await connection.execute("PRAGMA user_version = 1")
    await connection.execute("COMMIT")


async def _fill(connection: aiosqlite.Connection) -> None:
    await connection.executemany("INSERT INTO category VALUES (?, ?)", seed.CATEGORIES)
    await connection.executemany(
        "INSERT INTO product (name, category, price, stock, description) VALUES (?, ?, ?, ?, ?)",
        seed.PRODUCTS,
    )
    await connection.executemany(
        "INSERT INTO user (name, token_digest, staff) VALUES (?, ?, ?)",
        [(name, seed.token_digest(token), staff) for name, token, staff in seed.USERS],
    )
    await connection.executemany(
        "INSERT INTO basket_item SELECT user.id, product.id, ? FROM user, product"
        " WHERE user.name = ? AND product.name = ?",
        [(quantity, user, product) for user, product, quantity in seed.BASKETS],
    )


database = Database()


def get_database() -> Database:
    """The process's database."""
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]
"""The shop's database."""
