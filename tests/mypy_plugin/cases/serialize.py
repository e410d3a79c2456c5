from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)


class Row:
    pass


@dataclass
class Point:
    x: int


class Taught:
    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.any_schema()


@router.get("/dataclass")
async def right() -> Annotated[list[Point], Cached(ttl=5)]:
    return []


@router.get("/taught")
async def taught() -> Annotated[Taught, Cached(ttl=5)]:
    return Taught()


@router.get("/response")
async def response() -> Annotated[JSONResponse, Cached(ttl=5)]:
    return JSONResponse({})


@router.get("/html", response_class=HTMLResponse)
async def html() -> Annotated[str, Cached(ttl=5)]:
    return "<p>"


@router.get("/other-model", response_model=Product)
async def other_model() -> Annotated[Row, Cached(ttl=5)]:
    return Row()


@router.delete("/streamed", response_model=None)
async def evict_only() -> Annotated[Response, CacheEvict(group="a")]:
    return StreamingResponse([b""])


@router.get("/row")
async def row() -> Annotated[Row, Cached(ttl=5)]:  # E:35 redis-cache-serialize Cached on Row: pydantic has no schema
    return Row()


@router.get("/rows")
async def rows() -> Annotated[dict[str, list[Row]], Cached(ttl=5)]:  # E: redis-cache-serialize Cached on Row
    return {}


@router.get("/stream")
async def stream() -> Annotated[StreamingResponse, Cached(ttl=5)]:
    return StreamingResponse([b""])


@router.put("/stream")
async def put_stream() -> Annotated[StreamingResponse, CachePut()]:  # E: redis-cache-serialize CachePut on StreamingResponse: a stream
    return StreamingResponse([b""])


@router.get("/generator")
async def generator() -> Annotated[AsyncIterator[str], Cached(ttl=5)]:  # E: redis-cache-serialize Cached on a generator
    yield "a"


@router.get("/lines")
def lines() -> Annotated[Iterator[str], Cached(ttl=5)]:  # E: redis-cache-serialize Cached on a generator
    yield "a"


@router.get("/form")
async def form(name: Annotated[str, Form()]) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-serialize Cached on an endpoint that reads a form # needs: python_multipart
    return Product(id=1, name=name)


@router.get("/form-default")
async def form_default(name: str = Form()) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-serialize reads a form # needs: python_multipart
    return Product(id=1, name=name)


class Page(BaseModel):
    rows: list[Point]


@router.get("/page")
async def page() -> Annotated[Page, Cached(ttl=5)]:
    return Page(rows=[])
