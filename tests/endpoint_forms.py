"""Endpoints in every form FastAPI takes, each registered with or without a marker.

A form is a function that adds endpoints to a ``Bench`` and names requests for them. A marked bench
puts the marker into the return type that the endpoint has anyway, so both kinds have one source.
"""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, Union
from uuid import UUID

import fastapi
import typing_extensions
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
)
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from pydantic import BaseModel, Field, computed_field

import postponed
from apps import Product
from redis_fastapi import Cached, CacheEvict
from redis_fastapi.markers import Marker

CACHED = Cached(ttl=60)
EVICT = CacheEvict(group="products")

T = TypeVar("T")
FASTAPI_VERSION = tuple(int(part) for part in fastapi.__version__.split(".")[:2])


@dataclass
class Bench:
    """Where a form registers its endpoints.

    Attributes:
        router: An application or a router.
        marked: Whether return types get a marker.
        requests: Method, path and options of what to ask.
        events: What endpoints and dependencies did.
    """

    router: Any
    marked: bool
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def get(
        self, path: str, endpoint: Any, *, marker: Marker | None = CACHED, **options: Any
    ) -> None:
        self.add(["GET"], path, endpoint, marker=marker, **options)

    def post(self, path: str, endpoint: Any, **options: Any) -> None:
        self.add(["POST"], path, endpoint, marker=EVICT, **options)

    def add(
        self, methods: list[str], path: str, endpoint: Any, *, marker: Marker | None, **options: Any
    ) -> None:
        if self.marked and marker is not None:
            put_marker(endpoint, marker)
        self.router.add_api_route(path, endpoint, methods=methods, **options)

    def ask(self, method: str, *paths: str, **options: Any) -> None:
        self.requests += [(method, path, options) for path in paths]


def put_marker(endpoint: Any, marker: Marker) -> None:
    """Write a marker into the return annotation of whatever can be called."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    function = getattr(endpoint, "__func__", endpoint)
    if not hasattr(function, "__code__"):
        function = type(endpoint).__call__
    returns: Any = function.__annotations__["return"]
    if isinstance(returns, str):
        name = f"THE_{type(marker).__name__}"
        function.__globals__[name] = marker
        function.__annotations__["return"] = f"Annotated[{returns}, {name}]"
    else:
        function.__annotations__["return"] = Annotated[returns, marker]


FormOf = Callable[[Bench], None]
FORMS: dict[str, FormOf] = {}


def form(function: FormOf) -> FormOf:
    FORMS[function.__name__] = function
    return function


def form_if(condition: object) -> Callable[[FormOf], FormOf]:
    """A form that needs more than FastAPI alone."""
    return form if condition else lambda function: function


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    a: int
    b: str = "b"


class Filters(BaseModel):
    limit: int = Field(5, le=10)
    tag: Optional[str] = None  # noqa: UP045


class Wide(BaseModel):
    """A model that serializes otherwise than it validates."""

    model_config = {"populate_by_name": True}

    id: int
    secret: str = "s"
    label: Optional[str] = Field(None, alias="theLabel")  # noqa: UP045
    count: int = 3

    # mypy knows no decorated properties (python/mypy#1362)
    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.id * 2


class Page(BaseModel, Generic[T]):
    items: list[T]


ProductId = NewType("ProductId", int)
Limit = Annotated[int, Query(ge=1, le=9)]
Described = typing_extensions.TypeAliasType(
    "Described", Annotated[Product, Field(description="one product")]
)
Named = typing_extensions.TypeAliasType("Named", Product)
DeepLimit = Annotated[Annotated[int, Query(ge=1)], Query(le=9)]


# Parameters


@form
def path_parameters(bench: Bench) -> None:
    async def get_product(
        product_id: Annotated[int, Path(ge=1)], colour: Colour, rest: str
    ) -> Product:
        return Product(id=product_id, name=f"{colour.value} {rest}")

    async def by_uuid(key: UUID) -> dict[str, str]:
        return {"key": str(key)}

    bench.get("/p/{product_id}/{colour}/{rest:path}", get_product)
    bench.get("/u/{key}", by_uuid)
    bench.ask("GET", "/p/1/red/a/b", "/p/0/red/a", "/p/x/green/a", "/u/nothing")
    bench.ask("GET", "/u/12345678-1234-5678-1234-567812345678")


@form
def query_parameters(bench: Bench) -> None:
    async def annotated(limit: Limit = 2, deep: DeepLimit = 3, q: str | None = None) -> Product:
        return Product(id=limit + deep, name=str(q))

    async def by_default(
        limit: int = Query(2, ge=1),
        tags: list[str] = Query([], alias="tag"),
        required: bool = Query(),
    ) -> Product:
        return Product(id=limit, name=f"{tags} {required}")

    bench.get("/annotated", annotated)
    bench.get("/default", by_default)
    bench.ask("GET", "/annotated", "/annotated?limit=4&q=x", "/annotated?limit=0&deep=99")
    bench.ask("GET", "/default?required=1&tag=a&tag=b", "/default?limit=0", "/default?required=y?")


@form
def header_and_cookie_parameters(bench: Bench) -> None:
    async def read(
        accept_language: Annotated[str, Header(max_length=5)] = "en",
        x_list: Annotated[list[str], Header()] = [],  # noqa: B006
        flavour: str = Cookie("plain"),
        old: str = Header("none", alias="X-Old", convert_underscores=False),
    ) -> dict[str, Any]:
        return {"l": accept_language, "x": x_list, "f": flavour, "o": old}

    bench.get("/read", read)
    bench.ask("GET", "/read")
    bench.ask("GET", "/read", headers={"accept-language": "de", "x-list": "1", "X-Old": "y"})
    bench.ask("GET", "/read", headers={"accept-language": "much too long"})
    bench.ask("GET", "/read", headers={"cookie": "flavour=vanilla"})


@form
def parameter_models(bench: Bench) -> None:
    class Heads(BaseModel):
        x_one: int
        x_two: str = "two"

    async def query_model(filters: Annotated[Filters, Query()]) -> Product:
        return Product(id=filters.limit, name=str(filters.tag))

    async def header_model(heads: Annotated[Heads, Header()]) -> Product:
        return Product(id=heads.x_one, name=heads.x_two)

    async def cookie_model(filters: Annotated[Filters, Cookie()]) -> Product:
        return Product(id=filters.limit)

    bench.get("/query", query_model)
    bench.get("/header", header_model)
    bench.get("/cookie", cookie_model)
    bench.ask("GET", "/query?limit=3&tag=a", "/query?limit=99", "/header", "/cookie")
    bench.ask("GET", "/header", headers={"x-one": "1", "x-two": "b"})
    bench.ask("GET", "/cookie", headers={"cookie": "limit=7"})


@form
def bodies(bench: Bench) -> None:
    async def one(item: Item) -> Product:
        return Product(id=item.a)

    async def two(item: Item, other: Annotated[Item, Body()], n: int = Body(3)) -> Product:
        return Product(id=item.a + other.a + n)

    async def embedded(item: Annotated[Item, Body(embed=True)]) -> Product:
        return Product(id=item.a)

    def many(items: list[Item], q: int = 1) -> list[Product]:
        return [Product(id=item.a) for item in items]

    async def optional(item: Item | None = None) -> Product:
        return Product(id=item.a if item else 0)

    for endpoint in (one, two, embedded, many, optional):
        path = f"/{endpoint.__name__}"
        bench.post(path, endpoint)
        bench.ask("POST", path, json={"a": 1})
        bench.ask("POST", path, json={"item": {"a": 1}, "other": {"a": 2}})
        bench.ask("POST", path, json=[{"a": 1}, {"a": 2}])
        bench.ask("POST", path, content=b"{bad", headers={"content-type": "application/json"})
        bench.ask("POST", path)


@form_if(find_spec("python_multipart"))
def forms_and_files(bench: Bench) -> None:
    async def login(a: Annotated[int, Form()], b: str = Form("x")) -> Product:
        return Product(id=a, name=b)

    async def upload(file: UploadFile, note: Annotated[str, Form()] = "") -> dict[str, str]:
        return {"got": (await file.read()).decode(), "note": note}

    def raw(file: Annotated[bytes, File()]) -> int:
        return len(file)

    async def form_model(filters: Annotated[Filters, Form()]) -> Product:
        return Product(id=filters.limit)

    bench.post("/form", form_model)
    bench.post("/login", login)
    bench.post("/upload", upload)
    bench.post("/raw", raw)
    bench.ask("POST", "/form", data={"limit": "99"})
    bench.ask("POST", "/form", data={"limit": "9"})
    bench.ask("POST", "/login", data={"a": "5"})
    bench.ask("POST", "/login", data={"a": "five"})
    bench.ask("POST", "/upload", files={"file": b"abc"}, data={"note": "n"})
    bench.ask("POST", "/upload", "/raw")
    bench.ask("POST", "/raw", files={"file": b"abc"})


@form
def special_parameters(bench: Bench) -> None:
    async def own_names(
        request: Request, response: Response, tasks: BackgroundTasks, q: int = 1
    ) -> Product:
        response.headers["x-path"] = request.url.path
        tasks.add_task(bench.events.append, "task")
        return Product(id=q)

    async def created(out: Response) -> Product:
        out.status_code = 201
        out.headers["x-made"] = "1"
        return Product(id=1)

    bench.get("/own", own_names, marker=Cached(ttl=60, shared=True))
    bench.post("/created", created)
    bench.ask("GET", "/own", "/own?q=2", "/own?q=x")
    bench.ask("POST", "/created")


# Dependencies


@form
def dependencies(bench: Bench) -> None:
    def leaf(n: Annotated[int, Query(ge=0)] = 1) -> int:
        bench.events.append("leaf")
        return n

    def uncached() -> None:
        bench.events.append("uncached")

    async def session() -> AsyncIterator[str]:
        bench.events.append("open")
        try:
            yield "session"
        except Exception:
            bench.events.append("rollback")
            raise
        else:
            bench.events.append("commit")
        finally:
            bench.events.append("close")

    def middle(value: Annotated[int, Depends(leaf)]) -> int:
        bench.events.append("middle")
        return value + 1

    class Paging:
        def __init__(self, offset: int = 0) -> None:
            bench.events.append("paging")
            self.offset = offset

    def guard(token: Annotated[str, Header()] = "") -> None:
        bench.events.append("guard")
        if token == "bad":
            raise HTTPException(403, "no")

    async def read(
        db: Annotated[str, Depends(session)],
        a: Annotated[int, Depends(middle)],
        b: Annotated[int, Depends(leaf)],
        one: Annotated[None, Depends(uncached, use_cache=False)],
        two: Annotated[None, Depends(uncached, use_cache=False)],
        paging: Annotated[Paging, Depends()],
        fail: int = 0,
    ) -> Product:
        bench.events.append("endpoint")
        if fail:
            raise HTTPException(fail, "asked for")
        return Product(id=a + b + paging.offset)

    async def old_style(value: int = Depends(middle)) -> Product:
        return Product(id=value)

    bench.get("/read", read, dependencies=[Depends(guard)])
    bench.get("/old", old_style)
    bench.ask("GET", "/read", "/read?n=2", "/read?n=-1&offset=x", "/read?fail=404", "/old?n=-1")
    bench.ask("GET", "/read", headers={"token": "bad"})


@form
def security_scopes(bench: Bench) -> None:
    scheme = OAuth2PasswordBearer("token", scopes={"x": "x", "y": "y"}, auto_error=False)

    def user(scopes: SecurityScopes, token: Annotated[str | None, Security(scheme)]) -> str:
        bench.events.append(f"user {scopes.scopes}")
        return str(token)

    async def read(name: Annotated[str, Security(user, scopes=["x"])]) -> Product:
        bench.events.append(name)
        return Product(id=1)

    guards = [Security(user, scopes=["y"])]
    bench.get("/read", read, dependencies=guards, marker=Cached(ttl=60, shared=True))
    bench.ask("GET", "/read")
    bench.ask("GET", "/read", headers={"authorization": "Bearer one"})


# Return types


@form
def returned_types(bench: Bench) -> None:
    async def union(n: int = 1) -> Product | Item:
        return Product(id=n) if n else Item(a=1)

    async def optional(n: int = 1) -> Optional[Product]:  # noqa: UP045
        return Product(id=n) if n else None

    async def old_union() -> Union[int, str]:  # noqa: UP007
        return "text"

    async def generic() -> Page[Product]:
        return Page(items=[Product(id=1)])

    async def nested() -> dict[str, list[Product]]:
        return {"a": [Product(id=1)]}

    async def literal() -> Literal["a", "b"]:
        return "a"

    async def anything() -> Any:
        return {"x": Product(id=1)}

    async def scalar() -> float:
        return 1.50

    async def new_type() -> ProductId:
        return ProductId(3)

    async def described() -> Annotated[Product, Field(description="one")]:
        return Product(id=1)

    async def alias() -> Named:
        return Product(id=1)

    async def described_alias() -> Described:
        return Product(id=1)

    def computed() -> Wide:
        return Wide(id=2, theLabel="x")

    endpoints: list[Any] = [union, optional, old_union, generic, nested, literal, anything]
    endpoints += [scalar, new_type, described, alias, described_alias, computed]
    for endpoint in endpoints:
        bench.get(f"/{endpoint.__name__}", endpoint)
        bench.ask("GET", f"/{endpoint.__name__}")
    bench.ask("GET", "/union?n=0", "/optional?n=0")


@form
def nothing_returned(bench: Bench) -> None:
    async def no_content() -> None:
        bench.events.append("endpoint")

    async def null() -> None:
        return None

    bench.add(["DELETE"], "/thing", no_content, marker=EVICT, status_code=204)
    bench.post("/null", null)
    bench.ask("DELETE", "/thing")
    bench.ask("POST", "/null")


@form
def response_model_options(bench: Bench) -> None:
    def added(path: str, **options: Any) -> None:
        async def read() -> Wide:
            return Wide(id=2, theLabel=None)

        bench.get(path, read, **options)
        bench.ask("GET", path)

    async def other() -> Any:
        return {"id": 1, "name": "x", "hidden": True}

    added("/unset", response_model_exclude_unset=True)
    added("/defaults", response_model_exclude_defaults=True)
    added("/none", response_model_exclude_none=True)
    added("/include", response_model_include={"id"})
    added("/exclude", response_model_exclude={"secret"})
    added("/names", response_model_by_alias=False)
    bench.get("/other", other, response_model=Product)
    bench.ask("GET", "/other")


@form
def status_codes_and_docs(bench: Bench) -> None:
    async def created(item: Item) -> Product:
        """Make one.

        With a long description.
        """
        return Product(id=item.a)

    async def accepted() -> Product:
        return Product(id=1)

    def hidden() -> int:
        return 1

    bench.post("/created", created, status_code=201, tags=["t"], responses={409: {"model": Item}})
    bench.get("/accepted", accepted, status_code=203, summary="S", deprecated=True, name="n")
    bench.get("/hidden", hidden, include_in_schema=False)
    bench.ask("POST", "/created", json={"a": 1})
    bench.ask("GET", "/accepted", "/hidden")


@form
def response_classes(bench: Bench) -> None:
    async def text() -> str:
        return "plain"

    async def html() -> str:
        return "<b>html</b>"

    bench.get("/text", text, response_class=PlainTextResponse)
    bench.get("/html", html, response_class=HTMLResponse)
    bench.ask("GET", "/text", "/html")


@form
def own_responses(bench: Bench) -> None:
    async def json() -> JSONResponse:
        return JSONResponse({"a": 1}, headers={"x-own": "1"})

    def plain() -> Response:
        return Response("text", media_type="text/plain; charset=latin-1")

    async def typed(as_response: bool = True) -> Product:
        out: Any = JSONResponse({"id": "not checked"}) if as_response else Product(id=1)
        return out  # type: ignore[no-any-return]  # FastAPI sends a response as it is

    async def moved() -> RedirectResponse:
        return RedirectResponse("/plain", status_code=303)

    async def failed() -> Response:
        return Response(status_code=404)

    for endpoint in (json, plain, typed, moved, failed):
        path = f"/{endpoint.__name__}"
        bench.get(path, endpoint)
        bench.ask("GET", path)
    bench.ask("GET", "/typed?as_response=false")


# Callables


@form
def callable_objects(bench: Bench) -> None:
    class Reader:
        async def __call__(self, n: int = 1) -> Product:
            return Product(id=n)

    class SyncReader:
        def __call__(self, n: Annotated[int, Query(ge=1)]) -> Product:
            return Product(id=n)

    class Service:
        def __init__(self, name: str) -> None:
            self.name = name

        async def read(self, n: int) -> Product:
            return Product(id=n, name=self.name)

        def read_in_thread(self, n: int) -> Product:
            return Product(id=n, name=self.name)

        @classmethod
        async def of_class(cls, n: int) -> Product:
            return Product(id=n, name=cls.__name__)

        @staticmethod
        def static(n: int) -> Product:
            return Product(id=n)

    service = Service("tea")
    endpoints: list[Any] = [SyncReader(), service.read, service.read_in_thread]
    endpoints += [Service.of_class, service.static]
    if FASTAPI_VERSION >= (0, 128):  # older releases do not await the call
        endpoints.append(Reader())
    for number, endpoint in enumerate(endpoints):
        bench.get(f"/{number}", endpoint)
        bench.ask("GET", f"/{number}", f"/{number}?n=2", f"/{number}?n=0", f"/{number}?n=x")


@form
def partials(bench: Bench) -> None:
    async def read(service: str, n: int, scale: int = 2) -> Product:
        return Product(id=n * scale, name=service)

    def read_in_thread(n: int, service: str = "s") -> Product:
        return Product(id=n, name=service)

    for number, endpoint in enumerate(
        (
            functools.partial(read, "bound"),
            functools.partial(read_in_thread, service="named"),
        )
    ):
        bench.get(f"/{number}", endpoint)
        bench.ask("GET", f"/{number}?n=2", f"/{number}", f"/{number}?n=2&scale=5")


@form
def decorated(bench: Bench) -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def logged_call(*args: Any, **kwargs: Any) -> Any:
            bench.events.append("logged")
            return await function(*args, **kwargs)

        return logged_call

    async def read(n: int) -> Product:
        return Product(id=n)

    wrapped = logged(read)
    bench.get("/read", wrapped)
    bench.ask("GET", "/read?n=1", "/read")


@form
def postponed_annotations(bench: Bench) -> None:
    module = postponed.endpoints()
    bench.get("/read/{product_id}", module.read)
    bench.get("/quoted", module.quoted)
    bench.get("/checked", module.checked, marker=None, response_model=Product)
    bench.post("/write", module.write)
    bench.ask("GET", "/read/1", "/read/x", "/quoted?n=2", "/quoted", "/checked")
    bench.ask("POST", "/write", json={"id": 1})
    bench.ask("POST", "/write", json={})


# Routes


@form
def several_methods(bench: Bench) -> None:
    async def read(request: Request) -> Product:
        return Product(id=1, name=request.method)

    async def write(request: Request) -> Product:
        return Product(id=1, name=request.method)

    bench.add(["GET", "HEAD"], "/both", read, marker=CACHED, include_in_schema=False)
    bench.add(["PUT", "PATCH"], "/write", write, marker=EVICT, include_in_schema=False)
    bench.ask("GET", "/both")
    bench.ask("PUT", "/write")
    bench.ask("PATCH", "/write")
    bench.ask("OPTIONS", "/both")
    bench.ask("POST", "/both")


@form
def sync_cleanup(bench: Bench) -> None:
    def session() -> Iterator[int]:
        bench.events.append("open")
        yield 1
        bench.events.append("close")

    def write(db: int = Depends(session)) -> Product:
        bench.events.append("endpoint")
        return Product(id=db)

    def read(db: int = Depends(session)) -> Product:
        bench.events.append("endpoint")
        return Product(id=db)

    bench.post("/p", write)
    bench.get("/p", read)
    bench.ask("POST", "/p")
    bench.ask("GET", "/p")


def bench_on(router: FastAPI | APIRouter, name: str, *, marked: bool) -> Bench:
    """The endpoints of one form, on an application or a router."""
    bench = Bench(router, marked)
    FORMS[name](bench)
    return bench
