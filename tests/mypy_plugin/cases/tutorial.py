"""The shapes of FastAPI's tutorial, each with a marker that is right: nothing to report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    WebSocket,
    status,
)
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.security import (
    APIKeyCookie,
    HTTPBasic,
    HTTPBasicCredentials,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, computed_field
from typing_extensions import TypedDict

from redis_fastapi import (
    CacheBackendDep,
    Cached,
    CacheEvict,
    CachePut,
    CacheRoute,
    FastAPIRedis,
    cache,
    cache_evict,
)

T = TypeVar("T")
app = FastAPI()
FastAPIRedis(app).caching()
router = APIRouter(prefix="/tutorial", route_class=CacheRoute, tags=["tutorial"])
LIFETIME = timedelta(minutes=5)
fake_items = [{"item_name": "Foo"}, {"item_name": "Bar"}]


class ModelName(str, Enum):
    alexnet = "alexnet"
    resnet = "resnet"


class Image(BaseModel):
    url: HttpUrl
    name: str


class Item(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["Foo"])
    description: str | None = None
    price: Decimal = Decimal(1)
    tags: set[str] = set()
    image: Image | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def slug(self) -> str:
        return self.name.lower()


class Page(BaseModel, Generic[T]):
    items: list[T]


class Names(RootModel[list[str]]):
    pass


class Filters(BaseModel):
    limit: int = Field(100, gt=0, le=100)
    order_by: Literal["created_at", "updated_at"] = "created_at"


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str


@dataclass
class Order:
    number: int
    lines: list[str] = field(default_factory=list)


class Common:
    def __init__(self, q: str | None = None, skip: int = 0) -> None:
        self.q = q
        self.skip = skip


class Checker:
    def __call__(self, q: str = "") -> bool:
        return "bar" in q


class Repository:
    def find(self, item_id: int) -> Item:
        return Item(name=str(item_id))


oauth2 = OAuth2PasswordBearer(tokenUrl="token", scopes={"items": "Read items."})
basic = HTTPBasic()
cookie_key = APIKeyCookie(name="session")


async def database() -> AsyncIterator[Repository]:
    yield Repository()


def pagination(skip: int = 0, limit: int = 100) -> dict[str, int]:
    return {"skip": skip, "limit": limit}


async def current_user(scopes: SecurityScopes, token: Annotated[str, Depends(oauth2)]) -> Item:
    if not token:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, scopes.scope_str)
    return Item(name=token)


async def active_user(user: Annotated[Item, Security(current_user, scopes=["me"])]) -> Item:
    return user


def verify_token(x_token: Annotated[str, Header()]) -> None:
    if x_token != "secret":
        raise HTTPException(400)


def marker_for(seconds: int) -> Cached:
    return Cached(ttl=seconds, group="made")


RepositoryDep = Annotated[Repository, Depends(database)]
UserDep = Annotated[Item, Depends(active_user)]
CommonDep = Annotated[Common, Depends()]


@app.get("/")
async def root() -> Annotated[dict[str, str], Cached(ttl=300)]:
    return {"message": "Hello World"}


@router.get("/items/{item_id}")
async def read_item(
    item_id: Annotated[int, Path(title="The ID", ge=1)], q: str | None = None
) -> Annotated[Item | None, Cached(300, group=("items", "item:{item_id}"))]:
    return None


@router.get("/models/{model_name}")
def get_model(model_name: ModelName) -> Annotated[dict[str, Any], Cached(ttl=LIFETIME)]:
    return {"model_name": model_name}


@router.get("/files/{file_path:path}")
async def read_file(file_path: str) -> Annotated[str, Cached(group="file:{file_path}")]:
    return file_path


@router.get("/items/")
async def read_items(
    q: Annotated[list[str] | None, Query(alias="item-query", min_length=3)] = None,
    needy: bool = False,
    *,
    page: Annotated[dict[str, int], Depends(pagination)],
) -> Annotated[list[Item], Cached(ttl=60, group="items")]:
    return []


@router.get("/filtered/")
async def filtered(query: Annotated[Filters, Query()]) -> Annotated[Page[Item], Cached(ttl=60)]:
    return Page(items=[])


@router.get("/vary-by-attribute/")
async def vary_by_attribute(
    query: Annotated[Filters, Query()],
) -> Annotated[Names, Cached(60, vary=("query.limit", "query.order_by"), group="n:{query.limit}")]:
    return Names([])


@router.get("/headers/")
async def read_headers(
    user_agent: Annotated[str | None, Header()] = None,
    ads_id: Annotated[str | None, Cookie()] = None,
) -> Annotated[dict[str, str | None], Cached(ttl=60)]:
    return {"User-Agent": user_agent, "ads_id": ads_id}


@router.post("/items/", status_code=status.HTTP_201_CREATED)
async def create_item(
    item: Item, importance: Annotated[int, Body(gt=0)], tasks: BackgroundTasks
) -> Annotated[Item, CacheEvict(group=("items", "item:{item.name}", "slug:{item.slug}"))]:
    return item


@router.put("/items/{item_id}")
async def replace_item(item_id: int, item: Item) -> Annotated[Item | None, CachePut(ttl=300)]:
    return item


@router.delete("/items/{item_id}", status_code=204)
async def delete_item(
    item_id: int, repository: RepositoryDep
) -> Annotated[None, CacheEvict(key=read_item), CacheEvict(key="/tutorial/items/")]:
    return None


@router.api_route("/both/", methods=["GET", "HEAD"])
async def both() -> Annotated[Item | Movie, Cached(ttl=60, when=lambda found: bool(found))]:
    return Movie(title="m")


@router.get("/tuple")
async def as_tuple() -> Annotated[tuple[int, str], Cached(ttl=60)]:
    return 1, "a"


@router.get("/point")
async def as_point() -> Annotated[Point, Cached(ttl=60)]:
    return Point(1, 2)


@router.get("/order")
async def as_dataclass() -> Annotated[Order, Cached(ttl=60)]:
    return Order(1)


@router.get("/orders")
async def as_mapping() -> Annotated[dict[UUID, Order | None], Cached(ttl=60)]:
    return {}


@router.get("/when")
async def as_datetime() -> Annotated[datetime, Cached(ttl=60)]:
    return datetime.now()


@router.get("/html", response_class=HTMLResponse)
async def as_html() -> Annotated[str, Cached(ttl=60)]:
    return "<p>"


@router.get("/response", response_model=None)
async def as_response(text: bool) -> Annotated[Response | dict[str, str], Cached(ttl=60)]:
    return PlainTextResponse("a") if text else {"a": "b"}


@router.get("/json")
async def as_json() -> Annotated[JSONResponse, Cached(ttl=60)]:
    return JSONResponse({})


@router.get("/redirect")
async def as_redirect() -> Annotated[RedirectResponse, Cached(ttl=60)]:
    return RedirectResponse("/")


@router.get("/model", response_model=Item, response_model_exclude_unset=True)
async def with_model(repository: RepositoryDep) -> Annotated[Any, Cached(ttl=60)]:
    return repository.find(1)


@router.get("/repository", response_model=Item)
async def of_repository(repository: RepositoryDep) -> Annotated[Repository, Cached(ttl=60)]:
    return repository


@router.get("/common")
async def with_common(
    common: CommonDep, allowed: Annotated[bool, Depends(Checker())]
) -> Annotated[Item, Cached(ttl=60, vary="common.q", group="page:{common.skip}")]:
    return Item(name="a")


@router.get("/me")
async def me(user: UserDep) -> Annotated[Item, Cached(ttl=60, vary="user.name")]:
    return user


@router.get("/me/page")
async def my_page(user: UserDep) -> Annotated[Item, Cached(ttl=60, shared=True)]:
    return user


@router.get("/basic", dependencies=[Depends(basic)])
async def gated() -> Annotated[Item, Cached(ttl=60)]:
    return Item(name="a")


@router.get("/basic/me")
def basic_user(
    credentials: Annotated[HTTPBasicCredentials, Depends(basic)],
) -> Annotated[dict[str, str], Cached(ttl=60, vary="credentials.username")]:
    return {"username": credentials.username}


@router.get("/session")
async def session(key: str = Security(cookie_key)) -> Annotated[Item, Cached(60, vary="key")]:
    return Item(name=key)


@router.get("/request")
async def with_request(request: Request, q: str = "") -> Annotated[Item, Cached(60, vary="q")]:
    return Item(name=str(request.url))


@router.get("/made")
async def made(cache: CacheBackendDep) -> Annotated[Item, marker_for(60)]:
    return Item(name="a")


@router.get("/default")
async def default() -> Annotated[Item, Cached()]:
    return Item(name="a")


@router.get("/described")
async def described() -> Annotated[Item, Field(description="An item"), Cached(ttl=1)]:
    return Item(name="a")


@router.get("/depends", dependencies=[Depends(verify_token), Depends(cache(ttl=0))])
async def by_dependency() -> Item:
    return Item(name="a")


@router.post("/depends", dependencies=[Depends(cache_evict(eviction_group="a"))])
async def evict_by_dependency() -> None:
    return None


@router.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    await websocket.accept()


@app.exception_handler(ValueError)
async def on_error(request: Request, error: Exception) -> Response:
    return Response(str(error))


def lines() -> Iterator[str]:
    yield "a"


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@router.get("/wrapped")
@timed
async def wrapped() -> Annotated[Item, Cached(ttl=60)]:
    return Item(name="a")


for number in range(2):

    @router.get(f"/numbers/{number}")
    async def of_number(number: int = number) -> Annotated[Item, Cached(ttl=60)]:
        return Item(name=str(number))


if LIFETIME:

    @router.get("/conditional")
    async def conditional() -> Annotated[Item, Cached(ttl=60)]:
        return Item(name="a")


app.include_router(router, dependencies=[Depends(pagination)])
