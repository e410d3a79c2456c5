"""CacheEvict and CachePut: what goes, what is written, and when."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Response
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel
from redis.asyncio import Redis

from apps import (
    Gate,
    Product,
    cache_router,
    caching_app,
    client_of,
    memory_settings,
    override_redis,
    serving,
    state_of,
    states,
)
from endpoint_forms import FASTAPI_VERSION
from redis_fastapi import (
    Cached,
    CacheDeclarationError,
    CacheEvict,
    CachePut,
    FastAPIRedis,
    InvalidatingRoute,
)
from redis_fastapi._redis.keys import Target
from redis_fastapi._redis.store import Store
from redis_fastapi._serving.writing import Writing
from redis_fastapi.markers import Marker

TEA = {"id": 1, "name": "tea"}
COFFEE = {"id": 1, "name": "coffee"}
PUT = CachePut()


@dataclass
class Shop:
    """A catalogue and who read it.

    Attributes:
        names: What the database holds.
        runs: How often the reading endpoint ran.
    """

    names: dict[int, str] = field(default_factory=lambda: {1: "tea", 2: "milk"})
    runs: int = 0

    def read(self, product_id: int) -> Product:
        self.runs += 1
        return Product(id=product_id, name=self.names.get(product_id, "none"))


@pytest.fixture
def shop() -> Shop:
    return Shop()


def add_reader(router: FastAPI | APIRouter, shop: Shop, *markers: Marker) -> Any:
    """``GET /products/{product_id}``, and the endpoint."""
    marker = markers[0] if markers else Cached(ttl=60, group=("products", "product:{product_id}"))

    @router.get("/products/{product_id}")
    async def get_product(product_id: int) -> Annotated[Product, marker]:
        return shop.read(product_id)

    return get_product


def add_writer(
    router: FastAPI | APIRouter,
    *markers: Marker,
    method: str = "DELETE",
    path: str = "/products/{product_id}",
    act: Callable[[int], Any] | None = None,
    **options: Any,
) -> None:
    """A write that does ``act``, with its markers in one ``Annotated``."""

    async def write(product_id: int = 1) -> Any:
        result = act(product_id) if act else None
        return await result if isinstance(result, Awaitable) else result

    annotation: Any = Any
    for marker in markers:
        annotation = Annotated[annotation, marker]
    write.__annotations__["return"] = annotation
    router.add_api_route(path, write, methods=[method], **options)


async def warm(http: httpx.AsyncClient, *paths: str) -> None:
    """Fill the entries of these paths."""
    for path in paths:
        await http.get(path)
        assert state_of(await http.get(path)) == "HIT", path


# What an eviction names


@pytest.mark.parametrize(
    ("group", "gone", "kept"),
    [
        ("products", ["/products/1", "/products/2"], []),
        (("products",), ["/products/1", "/products/2"], []),
        ("product:{product_id}", ["/products/1"], ["/products/2"]),
        (("other", "product:{product_id}"), ["/products/1"], ["/products/2"]),
        ("product:2", ["/products/2"], ["/products/1"]),
        ("other", [], ["/products/1", "/products/2"]),
    ],
)
async def test_evicting_a_group_evicts_its_entries_and_no_others(
    shop: Shop, group: Any, gone: list[str], kept: list[str], any_client: Redis
) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(app, CacheEvict(group=group))

    async with serving(app, any_client) as http:
        await warm(http, "/products/1", "/products/2")
        await http.delete("/products/1")
        assert await states(http, *gone) == ["MISS"] * len(gone)
        assert await states(http, *kept) == ["HIT"] * len(kept)


class User(BaseModel):
    id: int
    team: str = "red"


def current_user(x_user: Annotated[int, Header()]) -> User:
    return User(id=x_user)


async def test_a_group_may_name_attributes_of_a_dependencys_value() -> None:
    app = caching_app()

    @app.get("/basket")
    async def basket(
        user: Annotated[User, Depends(current_user)],
    ) -> Annotated[int, Cached(ttl=60, group="user:{user.id}", vary="user.id")]:
        return user.id

    @app.post("/basket")
    async def add(
        user: Annotated[User, Depends(current_user)],
    ) -> Annotated[None, CacheEvict(group="user:{user.id}")]: ...

    async with serving(app) as http:
        for user in ("1", "2"):
            await states(http, "/basket", "/basket", headers={"x-user": user})
        await http.post("/basket", headers={"x-user": "1"})
        assert await states(http, "/basket", headers={"x-user": "1"}) == ["MISS"]
        assert await states(http, "/basket", headers={"x-user": "2"}) == ["HIT"]


async def test_a_group_may_name_attributes_of_the_body() -> None:
    app, shop = caching_app(), Shop()
    add_reader(app, shop)

    @app.post("/products")
    async def change(product: Product) -> Annotated[None, CacheEvict(group="product:{product.id}")]:
        return None

    async with serving(app) as http:
        await warm(http, "/products/1", "/products/2")
        await http.post("/products", json=COFFEE)
        assert await states(http, "/products/1", "/products/2") == ["MISS", "HIT"]


async def test_a_value_with_braces_or_colons_names_its_own_group_only(fake_client: Redis) -> None:
    app = caching_app()

    @app.get("/by/{name}")
    async def by_name(name: str) -> Annotated[str, Cached(ttl=60, group="name:{name}")]:
        return name

    @app.delete("/by/{name}")
    async def drop(name: str) -> Annotated[None, CacheEvict(group="name:{name}")]: ...

    paths = ["/by/a", "/by/a:b", "/by/{name}", "/by/%7B%7D", "/by/*", "/by/g:n:x"]
    async with serving(app, fake_client) as http:
        for victim in paths:
            await warm(http, *paths)
            await http.delete(victim)
            expected = ["MISS" if path == victim else "HIT" for path in paths]
            assert await states(http, *paths) == expected


async def test_evicting_a_key_evicts_every_variant_of_its_path() -> None:
    app = caching_app()

    @app.get("/products/{product_id}")
    async def read(
        product_id: int, q: str = "", accept_language: Annotated[str, Header()] = "en"
    ) -> Annotated[str, Cached(ttl=60)]:
        return f"{product_id} {q} {accept_language}"

    add_writer(app, CacheEvict(key="/products/{product_id}"))
    asked = [("/products/1", "en"), ("/products/1?q=a", "en"), ("/products/1", "de")]

    async with serving(app) as http:
        for path, language in [*asked, ("/products/2", "en")]:
            await states(http, path, path, headers={"accept-language": language})
        await http.delete("/products/1")
        for path, language in asked:
            assert await states(http, path, headers={"accept-language": language}) == ["MISS"]
        assert await states(http, "/products/2", headers={"accept-language": "en"}) == ["HIT"]


def shop_router(shop: Shop) -> tuple[APIRouter, Any]:
    router = cache_router(prefix="/shop")
    return router, add_reader(router, shop, Cached(ttl=60))


def place_under_prefixes(app: FastAPI, shop: Shop) -> tuple[Any, list[str]]:
    router, endpoint = shop_router(shop)
    outer = APIRouter(prefix="/outer")
    outer.include_router(router)
    app.include_router(outer, prefix="/api")
    return endpoint, ["/api/outer/shop/products/{}"]


def place_in_mount(app: FastAPI, shop: Shop) -> tuple[Any, list[str]]:
    router, endpoint = shop_router(shop)
    inner = FastAPI()
    inner.include_router(router)
    app.mount("/inner", inner)
    return endpoint, ["/inner/shop/products/{}"]


def place_twice(app: FastAPI, shop: Shop) -> tuple[Any, list[str]]:
    router, endpoint = shop_router(shop)
    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")
    return endpoint, ["/a/shop/products/{}", "/b/shop/products/{}"]


def place_on_app(app: FastAPI, shop: Shop) -> tuple[Any, list[str]]:
    return add_reader(app, shop, Cached(ttl=60)), ["/products/{}"]


PLACES = [place_on_app, place_under_prefixes, place_in_mount, place_twice]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("by_path", [True, False])
async def test_a_key_finds_its_resource_wherever_the_endpoint_stands(
    shop: Shop, place: Any, by_path: bool
) -> None:
    app = caching_app()
    endpoint, paths = place(app, shop)
    keys = [path.format("{product_id}") for path in paths] if by_path else [endpoint]
    add_writer(app, *(CacheEvict(key=key) for key in keys), path="/drop/{product_id}")
    ones, twos = [path.format(1) for path in paths], [path.format(2) for path in paths]

    async with serving(app) as http:
        await warm(http, *ones, *twos)
        await http.delete("/drop/1")
        assert await states(http, *ones) == ["MISS"] * len(ones)
        assert await states(http, *twos) == ["HIT"] * len(twos)


async def test_a_write_in_a_mounted_application_names_paths_from_the_root(shop: Shop) -> None:
    app, inner = caching_app(), FastAPI()
    router, endpoint = shop_router(shop)
    add_writer(router, CacheEvict(key=endpoint), path="/by-endpoint")
    add_writer(router, CacheEvict(key="/inner/shop/products/{product_id}"), path="/by-path")
    inner.include_router(router)
    app.mount("/inner", inner)

    async with serving(app) as http:
        for write in ("/inner/shop/by-endpoint", "/inner/shop/by-path"):
            await warm(http, "/inner/shop/products/1")
            await http.delete(write)
            assert await states(http, "/inner/shop/products/1") == ["MISS"]


async def test_a_key_may_be_a_bound_method() -> None:
    class Catalogue:
        async def read(self, product_id: int) -> Annotated[int, Cached(ttl=60)]:
            return product_id

    app, catalogue = caching_app(), Catalogue()
    app.add_api_route("/products/{product_id}", catalogue.read)
    add_writer(app, CacheEvict(key=catalogue.read))

    async with serving(app) as http:
        await warm(http, "/products/1")
        await http.delete("/products/1")
        assert await states(http, "/products/1") == ["MISS"]


async def test_every_marker_of_one_annotation_counts(shop: Shop) -> None:
    app = caching_app()
    endpoint = add_reader(app, shop)

    @app.get("/list")
    async def read_list() -> Annotated[int, Cached(ttl=60, group="lists")]:
        return 1

    @app.get("/count")
    async def read_count() -> Annotated[int, Cached(ttl=60)]:
        return 1

    @app.get("/untouched")
    async def read_other() -> Annotated[int, Cached(ttl=60)]:
        return 1

    add_writer(app, CacheEvict(group="lists"), CacheEvict(key="/count"), CacheEvict(key=endpoint))
    paths = ("/products/1", "/list", "/count", "/untouched")

    async with serving(app) as http:
        await warm(http, *paths)
        await http.delete("/products/1")
        assert await states(http, *paths) == ["MISS", "MISS", "MISS", "HIT"]


async def test_a_put_may_also_evict(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.get("/list")
    async def read_list() -> Annotated[int, Cached(ttl=60, group="lists")]:
        return 1

    @app.put("/products/{product_id}")
    async def put_product(
        product_id: int, product: Product
    ) -> Annotated[Product, CachePut(), CacheEvict(group="lists")]:
        return product

    async with serving(app) as http:
        await warm(http, "/products/1", "/list")
        await http.put("/products/1", json=COFFEE)
        assert await states(http, "/products/1", "/list") == ["HIT", "MISS"]


@pytest.mark.parametrize(
    ("group", "state"), [("products", "MISS"), ("product:{product_id}", "MISS"), ("others", "HIT")]
)
@pytest.mark.parametrize(("first", "second"), [("fill", "evict"), ("evict", "fill")])
async def test_a_put_that_evicts_its_own_group_leaves_a_miss(
    shop: Shop, group: str, state: str, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def put_product(
        product_id: int, product: Product
    ) -> Annotated[Product, CachePut(), CacheEvict(group=group)]:
        return product

    async with serving(app) as http:
        with monkeypatch.context() as patch:
            run_in_order(patch, first, second)
            await http.put("/products/1", json=COFFEE)
        assert await states(http, "/products/1") == [state]


@pytest.mark.parametrize(
    "soft",
    [
        CacheEvict(key="/products/{product_id}", soft=True),
        CacheEvict(group="products", soft=True),
    ],
)
@pytest.mark.parametrize(("first", "second"), [("fill", "outdate"), ("outdate", "fill")])
async def test_a_put_that_outdates_itself_never_leaves_the_older_entry(
    shop: Shop, soft: Marker, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = caching_app()

    @app.get("/products/{product_id}")
    async def read(
        product_id: int,
    ) -> Annotated[Product, Cached(ttl=60, stale_while_revalidate=60, group="products")]:
        return Product(id=product_id, name=shop.names[product_id])

    @app.put("/products/{product_id}")
    async def write(product_id: int, product: Product) -> Annotated[Product, CachePut(), soft]:
        shop.names[product_id] = product.name
        return product

    async with serving(app) as http:
        await warm(http, "/products/1")
        with monkeypatch.context() as patch:
            run_in_order(patch, first, second)
            await http.put("/products/1", json=COFFEE)
        answer = await http.get("/products/1")
        assert answer.json() == COFFEE
        assert state_of(answer) in ("STALE", "MISS")


def run_in_order(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    """Has one operation of all stores begin when another has ended."""
    earlier, later, ended = getattr(Store, first), getattr(Store, second), asyncio.Event()

    async def run_earlier(*args: Any, **options: Any) -> Any:
        result = await earlier(*args, **options)
        ended.set()
        return result

    async def run_later(*args: Any, **options: Any) -> Any:
        await ended.wait()
        return await later(*args, **options)

    monkeypatch.setattr(Store, first, run_earlier)
    monkeypatch.setattr(Store, second, run_later)


@pytest.mark.parametrize(("result", "expected"), [({"sold": True}, "MISS"), ({}, "HIT")])
async def test_when_decides_by_the_result(shop: Shop, result: Any, expected: str) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(
        app,
        CacheEvict(group="products", when=lambda answer: bool(answer)),
        act=lambda _: result,
    )

    async with serving(app) as http:
        await warm(http, "/products/1")
        await http.delete("/products/1")
        assert await states(http, "/products/1") == [expected]


async def test_a_predicate_that_raises_evicts(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(app, CacheEvict(group="products", when=lambda answer: bool(answer["missing"])))

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.delete("/products/1")).status_code == 200
        assert await states(http, "/products/1") == ["MISS"]


async def test_an_eviction_that_cannot_be_named_evicts_everything() -> None:
    app, shop = caching_app(), Shop()
    add_reader(app, shop)

    @app.delete("/products")
    # the mistake: an int has no such attribute
    async def drop(product: int = 1) -> Annotated[None, CacheEvict(group="p:{product.gone}")]: ...  # type: ignore[redis-cache-placeholder]

    async with serving(app) as http:
        await warm(http, "/products/1", "/products/2")
        assert (await http.delete("/products")).status_code == 200
        assert await states(http, "/products/1", "/products/2") == ["MISS", "MISS"]


async def test_an_eviction_by_an_unserved_path_evicts_nothing_else(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(app, CacheEvict(key="/served/elsewhere/{product_id}"))

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.delete("/products/1")).status_code == 200
        assert await states(http, "/products/1") == ["HIT"]


# Failures


def refuse(_: int) -> None:
    raise HTTPException(409)


def break_down(_: int) -> None:
    raise RuntimeError("broken")


def answer_404(_: int) -> Response:
    return JSONResponse({}, status_code=404)


@pytest.mark.parametrize("act", [refuse, break_down, answer_404])
@pytest.mark.parametrize(
    "marker", [CacheEvict(group="products"), CacheEvict(key="/products/{product_id}")]
)
async def test_an_endpoint_that_fails_evicts_nothing(shop: Shop, act: Any, marker: Marker) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(app, marker, act=act)

    async with serving(app, raise_app_exceptions=False) as http:
        await warm(http, "/products/1")
        assert (await http.delete("/products/1")).status_code >= 400
        assert await states(http, "/products/1") == ["HIT"]


@pytest.mark.parametrize("act", [refuse, break_down, answer_404])
async def test_a_put_that_fails_writes_and_evicts_nothing(shop: Shop, act: Any) -> None:
    app = caching_app()
    add_reader(app, shop, Cached(ttl=60))

    @app.put("/products/{product_id}")
    async def put_product(product_id: int) -> Annotated[Product, CachePut()]:
        return act(product_id) or Product(id=product_id)

    async with serving(app, raise_app_exceptions=False) as http:
        await warm(http, "/products/1")
        assert (await http.put("/products/1")).status_code >= 400
        again = await http.get("/products/1")
        assert (state_of(again), again.json()) == ("HIT", TEA)
        await http.put("/products/2")
        assert await states(http, "/products/2", "/products/2") == ["MISS", "HIT"]


async def test_a_refused_write_evicts_nothing(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)

    def login(token: Annotated[str, Header()] = "") -> None:
        raise HTTPException(401)

    add_writer(app, CacheEvict(group="products"), dependencies=[Depends(login)])

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.delete("/products/1")).status_code == 401
        assert await states(http, "/products/1") == ["HIT"]


async def test_a_redirect_after_a_write_evicts(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_writer(
        app,
        CacheEvict(group="products"),
        act=lambda _: Response(status_code=303, headers={"location": "/"}),
    )

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.delete("/products/1")).status_code == 303
        assert await states(http, "/products/1") == ["MISS"]


@pytest.mark.parametrize("raises", [False, True])
async def test_what_a_redirect_names_is_evicted(shop: Shop, raises: bool) -> None:
    app, router = caching_app(), APIRouter(route_class=InvalidatingRoute)
    add_reader(app, shop)

    @router.post("/orders")
    async def order() -> Response:
        if raises:
            raise HTTPException(303, headers={"Location": "/products/1"})
        return Response(status_code=303, headers={"Location": "/products/1"})

    app.include_router(router)
    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.post("/orders")).status_code == 303
        assert await states(http, "/products/1") == ["MISS"]


async def test_a_path_that_a_get_cannot_read_is_no_error_of_the_write_that_names_it() -> None:
    def known(code: str) -> str:
        return {"tea": "tea"}[code]

    app, router = caching_app(), APIRouter(route_class=InvalidatingRoute)

    @router.get("/codes/{code}")
    async def read(code: Annotated[str, AfterValidator(known)]) -> Annotated[str, Cached(60)]:
        return code

    @router.post("/codes", status_code=201)
    async def create(response: Response) -> None:
        response.headers["location"] = "/codes/coffee"

    app.include_router(router)
    async with serving(app) as http:
        assert (await http.post("/codes")).status_code == 201


@pytest.mark.parametrize("marker", [CacheEvict(group="products"), CachePut()])
async def test_a_result_that_cannot_be_serialized_evicts(shop: Shop, marker: Marker) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: int) -> Annotated[Product, marker]:
        shop.names[product_id] = "coffee"
        return {"id": "no number"}  # type: ignore[return-value]  # the mistake

    async with serving(app) as http:
        await warm(http, "/products/1")
        with pytest.raises(ResponseValidationError):
            await http.put("/products/1")
        again = await http.get("/products/1")
        assert (state_of(again), again.json()) == ("MISS", COFFEE)


@pytest.mark.parametrize("marker", [CacheEvict(group="products"), CachePut()])
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_write_evicts(shop: Shop, marker: Marker, how: str) -> None:
    app, gate = caching_app(), Gate()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: int) -> Annotated[Product, marker]:
        shop.names[product_id] = "coffee"
        await gate.pass_through()
        return Product(id=product_id)

    async with serving(app) as http:
        await warm(http, "/products/1")
        if how == "task":
            await cancel_by_task(http, gate)
        else:
            await cancel_by_scope(http, gate)
        again = await eventually(http, "/products/1", "MISS")
        assert again.json() == COFFEE


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_write_evicts_only_what_it_names(shop: Shop, how: str) -> None:
    app, gate = caching_app(), Gate()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: int) -> Annotated[None, CacheEvict(group="others")]:
        await gate.pass_through()

    async with serving(app) as http:
        await warm(http, "/products/1")
        await (cancel_by_task if how == "task" else cancel_by_scope)(http, gate)
        assert await states(http, "/products/1") == ["HIT"]


async def reread_after_a_thread(shop: Shop, marker: Marker) -> httpx.Response:
    """What is read after a write that committed when its request had been given up long before."""
    app, loop = caching_app(), asyncio.get_running_loop()
    started, goes_on = asyncio.Event(), threading.Event()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    def write(product_id: int) -> Annotated[Product, marker]:
        loop.call_soon_threadsafe(started.set)
        goes_on.wait(10)
        shop.names[product_id] = "coffee"
        return Product(id=product_id)

    async with serving(app) as http:
        task = asyncio.create_task(http.put("/products/1"))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(http, "/products/1", "MISS")
        await warm(http, "/products/1")
        goes_on.set()
        return await eventually(http, "/products/1", "MISS")


@pytest.mark.parametrize("marker", [CacheEvict(group="products"), CachePut()])
async def test_a_write_that_commits_after_it_was_given_up_evicts(
    shop: Shop, marker: Marker
) -> None:
    assert (await reread_after_a_thread(shop, marker)).json() == COFFEE


async def test_control_without_noticing_the_end_of_its_thread_the_older_entry_stays(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writing, "ended_in_thread", lambda _: None)
    with pytest.raises(AssertionError, match="never answered MISS"):
        await reread_after_a_thread(shop, CacheEvict(group="products"))


async def cancel_by_task(http: httpx.AsyncClient, gate: Gate) -> None:
    task = asyncio.create_task(http.put("/products/1"))
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_by_scope(http: httpx.AsyncClient, gate: Gate) -> None:
    """As a middleware does whose client went away: every further await is cancelled too."""
    async with anyio.create_task_group() as group:
        group.start_soon(http.put, "/products/1")
        await gate.reached()
        group.cancel_scope.cancel()


async def eventually(http: httpx.AsyncClient, path: str, wanted: str) -> httpx.Response:
    """The first response in the wanted state: an eviction outlives its request."""
    for _ in range(100):
        response = await http.get(path)
        if state_of(response) == wanted:
            return response
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} never answered {wanted}")


# Before the response leaves


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (CacheEvict(group="products"), COFFEE),
        (CachePut(), COFFEE),
        (CacheEvict(group="others"), TEA),
    ],
)
async def test_a_write_is_acknowledged_before_its_response_leaves(
    shop: Shop, marker: Marker, expected: Any, fake_client: Redis
) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: int, product: Product) -> Annotated[Product, marker]:
        shop.names[product_id] = product.name
        return product

    override_redis(app, fake_client)
    seen: list[Any] = []

    async def app_read_while_sending(scope: Any, receive: Any, send: Any) -> None:
        async def read_first(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "PUT":
                async with client_of(app) as reader:
                    seen.append((await reader.get("/products/1")).json())
            await send(message)

        await app(scope, receive, read_first)

    async with serving(app, fake_client) as http:
        await warm(http, "/products/1")
        async with client_of(app_read_while_sending) as writer:
            await writer.put("/products/1", json=COFFEE)

    assert seen == [expected]


def late_app(shop: Shop, gate: Gate, marker: Marker, **scope: Any) -> FastAPI:
    """A write whose session commits when the gate opens; `scope` as FastAPI's `Depends` has it."""
    app = caching_app()
    add_reader(app, shop)

    async def session() -> AsyncIterator[dict[int, str]]:
        pending: dict[int, str] = {}
        yield pending
        await gate.pass_through()
        shop.names.update(pending)

    @app.put("/products/{product_id}")
    async def write(
        product_id: int, product: Product, db: Annotated[dict[int, str], Depends(session, **scope)]
    ) -> Annotated[Product, marker]:
        db[product_id] = product.name
        return product

    return app


async def read_around_a_late_commit(app: FastAPI, gate: Gate) -> tuple[Any, Any]:
    """What a GET returns between response and commit, and after the commit."""
    async with serving(app) as http:
        await warm(http, "/products/1")
        write = asyncio.create_task(http.put("/products/1", json=COFFEE))
        await gate.reached()
        between = await http.get("/products/1")
        gate.open()
        assert (await write).status_code == 200
        return between.json(), (await http.get("/products/1")).json()


LATE = [CacheEvict(group="products"), CacheEvict(key="/products/{product_id}")]


@pytest.mark.parametrize("marker", LATE)
async def test_a_commit_after_the_response_is_followed_by_a_second_eviction(
    shop: Shop, marker: Marker
) -> None:
    gate = Gate()
    app = late_app(shop, gate, marker)

    between, after = await read_around_a_late_commit(app, gate)

    assert between == TEA
    assert after == COFFEE


@pytest.mark.skipif(FASTAPI_VERSION < (0, 118), reason="sessions end before the response there")
@pytest.mark.parametrize("marker", LATE)
async def test_control_without_the_second_eviction_a_late_commit_leaves_an_older_entry(
    shop: Shop, marker: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def evict_no_more(*_: object) -> bool:
        return False

    monkeypatch.setattr("redis_fastapi._serving.writing.Writing.after_cleanup", evict_no_more)
    gate = Gate()
    app = late_app(shop, gate, marker)

    _, after = await read_around_a_late_commit(app, gate)

    assert after == TEA


@pytest.mark.skipif(FASTAPI_VERSION < (0, 121), reason="dependency scopes are FastAPI 0.121's")
async def test_a_commit_before_the_response_is_visible_when_the_response_leaves(
    shop: Shop,
) -> None:
    gate, sending = Gate(), Gate()
    app = late_app(shop, gate, CacheEvict(group="products"), scope="function")

    async def app_holding_its_response(scope: Any, receive: Any, send: Any) -> None:
        async def hold(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "PUT":
                await sending.pass_through()
            await send(message)

        await app(scope, receive, hold)

    async with serving(app) as http, client_of(app_holding_its_response) as writer:
        await warm(http, "/products/1")
        task = asyncio.create_task(writer.put("/products/1", json=COFFEE))
        await gate.reached()
        assert (await http.get("/products/1")).json() == TEA
        gate.open()
        await sending.reached()
        assert (await http.get("/products/1")).json() == COFFEE
        sending.open()
        await task


async def test_a_put_whose_commit_fails_is_evicted(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)

    async def session() -> AsyncIterator[None]:
        yield
        raise RuntimeError("the commit failed")

    @app.put("/products/{product_id}")
    async def write(
        product_id: int, product: Product, db: Annotated[None, Depends(session)]
    ) -> Annotated[Product, CachePut()]:
        return product

    async with serving(app, raise_app_exceptions=False) as http:
        await warm(http, "/products/1")
        await http.put("/products/1", json=COFFEE)
        assert (await http.get("/products/1")).json() == TEA


# What a put writes


def add_put(router: FastAPI | APIRouter, shop: Shop, marker: Marker, **options: Any) -> Any:
    """``PUT /products/{product_id}``, and the endpoint."""

    @router.put("/products/{product_id}", **options)
    async def put_product(product_id: int, product: Product) -> Annotated[Product, marker]:
        shop.names[product_id] = product.name
        return product

    return put_product


async def test_a_put_makes_the_next_get_a_hit_with_its_body(shop: Shop, any_client: Redis) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(ttl=30))

    async with serving(app, any_client) as http:
        await warm(http, "/products/1", "/products/2")
        put = await http.put("/products/1", json=COFFEE)
        hit = await http.get("/products/1")
        assert (state_of(hit), hit.json()) == ("HIT", COFFEE)
        assert hit.content == put.content
        assert state_of(put) is None
        assert hit.headers["cache-control"] == "max-age=30"
        assert await states(http, "/products/2") == ["HIT"]
    assert shop.runs == 2


async def test_a_hit_after_a_put_has_the_headers_of_a_miss(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(), status_code=201)

    async with serving(app) as http:
        miss = await http.get("/products/1")
        put = await http.put("/products/1", json=TEA)
        hit = await http.get("/products/1")

    assert (put.status_code, hit.status_code) == (201, 200)
    told = [
        {k: v for k, v in one.headers.items() if k not in ("age", "x-redis-cache", "cache-status")}
        for one in (miss, hit)
    ]
    assert told[0] == told[1]
    assert hit.content == miss.content


async def test_a_put_joins_the_groups_of_its_get(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut())
    add_writer(app, CacheEvict(group="products"), path="/all")
    add_writer(app, CacheEvict(group="product:{product_id}"))

    async with serving(app) as http:
        for path in ("/all", "/products/1"):
            await http.put("/products/1", json=COFFEE)
            assert await states(http, "/products/1") == ["HIT"]
            await http.delete(path)
            assert await states(http, "/products/1") == ["MISS"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("by_path", [True, False])
async def test_a_put_with_a_key_writes_what_the_get_there_reads(
    shop: Shop, place: Any, by_path: bool
) -> None:
    app = caching_app()
    endpoint, paths = place(app, shop)
    key = paths[0].format("{product_id}") if by_path else endpoint

    @app.post("/import")
    async def write(product_id: int, product: Product) -> Annotated[Product, CachePut(key=key)]:
        shop.names[product_id] = product.name
        return product

    read = [path.format(1) for path in paths]
    async with serving(app) as http:
        await warm(http, *read)
        await http.post("/import?product_id=1", json=COFFEE)
        assert await states(http, read[0]) == ["HIT"]
        written = read if not by_path else read[:1]
        for path in written:
            assert (await http.get(path)).json() == COFFEE


@pytest.mark.parametrize("place", [place_under_prefixes, place_in_mount, place_twice])
async def test_a_put_on_the_path_of_its_get_writes_it_wherever_both_are_included(
    shop: Shop, place: Any
) -> None:
    app, written = caching_app(), []
    original = shop_router

    def router_with_put(of: Shop) -> tuple[APIRouter, Any]:
        router, endpoint = original(of)
        written.append(add_put(router, of, CachePut()))
        return router, endpoint

    place.__globals__["shop_router"] = router_with_put
    try:
        _, paths = place(app, shop)
    finally:
        place.__globals__["shop_router"] = original

    async with serving(app) as http:
        for path in (path.format(1) for path in paths):
            await http.put(path, json=COFFEE)
            hit = await http.get(path)
            assert (state_of(hit), hit.json()) == ("HIT", COFFEE)


@pytest.mark.parametrize("marker", [CachePut(), CacheEvict(key="/products/{product_id}")])
@pytest.mark.parametrize("sent", ["1", "01", "%31"])
async def test_a_str_parameter_evicts_the_int_path_that_the_get_reads(
    shop: Shop, marker: Marker, sent: str
) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: str) -> Annotated[Product, marker]:
        shop.names[1] = "coffee"
        return Product(id=int(product_id), name="coffee")

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.put(f"/products/{sent}")).status_code == 200
        assert (await http.get("/products/1")).json() == COFFEE


@pytest.mark.parametrize("marker", [CachePut(), CacheEvict(key="/products/{code}")])
async def test_an_int_parameter_does_not_evict_equal_looking_strings(marker: Marker) -> None:
    app = caching_app()

    @app.get("/products/{code}")
    async def read(code: str) -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=1, name=code)

    @app.put("/products/{code}")
    async def write(code: str) -> Annotated[Product, marker]:
        return Product(id=1, name=f"new {code}")

    async with serving(app) as http:
        await warm(http, "/products/1", "/products/01")
        await http.put("/products/01")
        assert (await http.get("/products/1")).json()["name"] == "1"
        assert await states(http, "/products/1") == ["HIT"]


async def test_a_put_whose_get_varies_evicts_every_variant(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, names = caching_app(), {1: "tea"}

    @app.get("/products/{product_id}")
    async def read(product_id: int, q: str = "") -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=product_id, name=names[product_id] + q)

    @app.put("/products/{product_id}")
    async def write(product_id: int, product: Product) -> Annotated[Product, CachePut()]:
        names[product_id] = product.name
        return product

    async with serving(app) as http:
        await warm(http, "/products/1", "/products/1?q=x")
        await http.put("/products/1", json=COFFEE)
        for path, name in (("/products/1", "coffee"), ("/products/1?q=x", "coffeex")):
            response = await http.get(path)
            assert (state_of(response), response.json()["name"]) == ("MISS", name)
    assert "varies by more than its path" in caplog.text


@pytest.mark.parametrize(("keep", "expected"), [(True, "HIT"), (False, "MISS")])
async def test_when_of_a_put_decides_between_writing_and_evicting(
    shop: Shop, keep: bool, expected: str
) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(when=lambda product: keep))

    async with serving(app) as http:
        await warm(http, "/products/1")
        await http.put("/products/1", json=COFFEE)
        response = await http.get("/products/1")
        assert (state_of(response), response.json()) == (expected, COFFEE)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 205, 206])
async def test_a_put_without_the_representation_evicts(shop: Shop, status: int) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def write(product_id: int) -> Annotated[Product, CachePut()]:
        shop.names[product_id] = "coffee"
        return Response(status_code=status)  # type: ignore[return-value]  # FastAPI allows it

    async with serving(app) as http:
        await warm(http, "/products/1")
        assert (await http.put("/products/1")).status_code == status
        response = await http.get("/products/1")
        assert (state_of(response), response.json()) == ("MISS", COFFEE)


# What contradicts, at start-up


async def start_error(app: FastAPI) -> CacheDeclarationError:
    with pytest.raises(CacheDeclarationError) as caught:
        async with serving(app):
            pass
    return caught.value


async def test_a_put_of_another_model_is_refused_at_start_up(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)

    @app.put("/products/{product_id}")
    async def put_product(product_id: int) -> Annotated[User, CachePut()]:
        return User(id=1)

    error = await start_error(app)

    assert error.code == "redis-cache-put"
    assert error.route == "PUT /products/{product_id} (put_product)"
    assert "GET /products/{product_id} (get_product)" in error.problem
    assert "CacheEvict" in error.fix


@pytest.mark.parametrize(
    "options", [{"response_model_exclude_unset": True}, {"response_model_exclude": {"name"}}]
)
async def test_a_put_that_serializes_otherwise_is_refused_at_start_up(
    shop: Shop, options: dict[str, Any]
) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(), **options)

    assert (await start_error(app)).code == "redis-cache-put"


async def test_a_put_with_other_groups_is_refused_at_start_up(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(group="others"))

    error = await start_error(app)

    assert error.code == "redis-cache-put"
    assert "others" in error.problem
    assert "product:{product_id}" in error.problem


async def test_a_put_with_the_groups_of_its_get_is_accepted(shop: Shop) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, CachePut(group=("products", "product:{product_id}")))

    async with serving(app) as http:
        assert (await http.put("/products/1", json=COFFEE)).status_code == 200


@pytest.mark.parametrize("key", [None, "/elsewhere/{product_id}"])
async def test_a_put_without_a_get_is_refused_at_start_up(shop: Shop, key: str | None) -> None:
    app = caching_app()
    if key:
        add_reader(app, shop)
    add_put(app, shop, CachePut(key=key))

    error = await start_error(app)

    assert error.code == "redis-cache-put"
    assert "no cached GET" in error.problem
    assert "Cached(ttl=300)" in error.fix


def unserved(product_id: int) -> None: ...


@pytest.mark.parametrize(
    ("marker", "code"),
    [
        (CacheEvict(key=unserved), "redis-cache-key"),
        (CachePut(key=unserved), "redis-cache-put"),
    ],
)
async def test_a_key_without_a_route_is_refused_at_start_up(
    shop: Shop, marker: Marker, code: str
) -> None:
    app = caching_app()
    add_reader(app, shop)
    add_put(app, shop, marker)

    error = await start_error(app)

    assert error.code == code
    assert error.route == "PUT /products/{product_id} (put_product)"


@pytest.mark.parametrize("kind", [CacheEvict, CachePut])
async def test_a_key_whose_path_needs_more_is_refused_at_start_up(
    shop: Shop, kind: Callable[..., Marker]
) -> None:
    app = caching_app()
    endpoint = add_reader(app, shop)
    marker = kind(key=endpoint)

    @app.post("/import/{number}")
    async def write(number: int) -> Annotated[Product, marker]:
        return Product(id=number)

    error = await start_error(app)

    assert error.code == "redis-cache-key"
    assert "'product_id'" in error.problem
    assert "/products/{product_id}" in error.fix


# Races


async def test_a_reader_that_began_before_an_eviction_stores_nothing_after_it() -> None:
    app, gate = caching_app(), Gate()
    names = {1: "tea"}
    slow = True

    @app.get("/products/{product_id}")
    async def read(product_id: int) -> Annotated[Product, Cached(ttl=60, group="products")]:
        product = Product(id=product_id, name=names[product_id])
        if slow:
            await gate.pass_through()
        return product

    @app.delete("/products/{product_id}")
    async def drop(product_id: int) -> Annotated[None, CacheEvict(group="products")]:
        names[product_id] = "coffee"

    async with serving(app) as http:
        reader = asyncio.create_task(http.get("/products/1"))
        await gate.reached()
        slow = False
        await http.delete("/products/1")
        gate.open()
        assert (await reader).json() == TEA
        again = await http.get("/products/1")
        assert (state_of(again), again.json()) == ("MISS", COFFEE)


def racing_app(
    names: dict[int, str],
    read_gate: Gate,
    put_gates: dict[str, Gate],
    marker: Marker = PUT,
) -> FastAPI:
    """A reader that waits after it read, and puts that wait before they respond."""
    app = caching_app()

    @app.get("/products/{product_id}")
    async def read(product_id: int) -> Annotated[Product, Cached(ttl=60, group="products")]:
        product = Product(id=product_id, name=names[product_id])
        if product.name == "tea":
            await read_gate.pass_through()
        return product

    @app.put("/products/{product_id}")
    async def write(product_id: int, product: Product) -> Annotated[Product, marker]:
        names[product_id] = product.name
        await put_gates[product.name].pass_through()
        return product

    return app


async def value_after_a_race(client: Redis, marker: Marker, *, reader_first: bool) -> Any:
    """What a GET returns after a put that raced a reader, and the reader, have ended."""
    names, read_gate, put_gate = {1: "tea"}, Gate(), Gate()
    app = racing_app(names, read_gate, {"coffee": put_gate}, marker)

    async with serving(app, client) as http:
        reader = asyncio.create_task(http.get("/products/1"))
        await read_gate.reached()
        writer = asyncio.create_task(http.put("/products/1", json=COFFEE))
        await put_gate.reached()
        gates, tasks = [read_gate, put_gate], [reader, writer]
        for number in (0, 1) if reader_first else (1, 0):
            gates[number].open()
            await tasks[number]
        return (await http.get("/products/1")).json()


@pytest.mark.parametrize("reader_first", [True, False])
async def test_a_put_that_races_a_reader_never_ends_in_the_older_value(
    reader_first: bool, any_client: Redis
) -> None:
    assert await value_after_a_race(any_client, PUT, reader_first=reader_first) == COFFEE


@pytest.mark.parametrize("reader_first", [True, False])
async def test_control_without_a_put_the_race_ends_in_the_older_value(
    reader_first: bool, any_client: Redis
) -> None:
    unrelated = CacheEvict(group="others")

    assert await value_after_a_race(any_client, unrelated, reader_first=reader_first) == TEA


async def value_after_two_puts(client: Redis, order: tuple[str, str]) -> str:
    """What a GET returns after the puts of one and then two, which end in this order."""
    names, gates = {1: "none"}, {"one": Gate(), "two": Gate()}
    app = racing_app(names, Gate(), gates)

    async with serving(app, client) as http:
        tasks = {}
        for name in ("one", "two"):
            body = {"id": 1, "name": name}
            tasks[name] = asyncio.create_task(http.put("/products/1", json=body))
            await gates[name].reached()
        for name in order:
            gates[name].open()
            await tasks[name]
        assert names == {1: "two"}
        last: str = (await http.get("/products/1")).json()["name"]
        return last


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
async def test_racing_puts_never_end_in_the_older_value(
    order: tuple[str, str], any_client: Redis
) -> None:
    assert await value_after_two_puts(any_client, order) == "two"


async def test_control_without_the_lease_racing_puts_end_in_the_older_value(
    fake_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def store_whatever(
        self: Store, target: Target, lease: bytes, payload: bytes, px: int | None
    ) -> bool:
        key = f"{memory_settings().prefix}:e:{{{target.entry}}}"
        return bool(await fake_client.set(key, payload, px=px))

    monkeypatch.setattr(Store, "fill", store_whatever)

    assert await value_after_two_puts(fake_client, ("two", "one")) == "one"


async def test_an_eviction_during_a_put_is_not_undone_by_it(any_client: Redis) -> None:
    names, gate = {1: "none"}, Gate()
    app = racing_app(names, Gate(), {"coffee": gate})
    add_writer(app, CacheEvict(group="products"), act=lambda _: names.update({1: "newer"}))

    async with serving(app, any_client) as http:
        writer = asyncio.create_task(http.put("/products/1", json=COFFEE))
        await gate.reached()
        await http.delete("/products/1")
        gate.open()
        await writer
        assert (await http.get("/products/1")).json()["name"] == "newer"


async def test_a_reader_during_a_put_does_not_wait_for_it_in_vain() -> None:
    names, gate = {1: "none"}, Gate()
    app = racing_app(names, Gate(), {"coffee": gate})

    async with serving(app) as http:
        writer = asyncio.create_task(http.put("/products/1", json=COFFEE))
        await gate.reached()
        reader = asyncio.create_task(http.get("/products/1"))
        gate.open()
        assert (await reader).json() == COFFEE
        await writer
        hit = await http.get("/products/1")
        assert (state_of(hit), hit.json()) == ("HIT", COFFEE)


# Without the lifespan


async def test_an_override_alone_is_enough_for_eviction_and_put(
    shop: Shop, fake_client: Redis
) -> None:
    app = FastAPI()
    FastAPIRedis(app).caching()
    add_reader(app, shop)
    add_put(app, shop, CachePut())
    add_writer(app, CacheEvict(group="products"))
    override_redis(app, fake_client)

    async with client_of(app) as http:
        await warm(http, "/products/1")
        await http.put("/products/1", json=COFFEE)
        assert (await http.get("/products/1")).json() == COFFEE
        await http.delete("/products/1")
        assert await states(http, "/products/1") == ["MISS"]


@pytest.mark.parametrize("kind", [CacheEvict, CachePut])
async def test_an_override_on_a_mounted_application_is_enough(
    shop: Shop, fake_client: Redis, kind: Any
) -> None:
    app, inner = FastAPI(), FastAPI()
    router, endpoint = shop_router(shop)
    add_put(router, shop, kind(key=endpoint))
    inner.include_router(router)
    app.mount("/inner", inner)
    override_redis(inner, fake_client)

    async with client_of(app) as http:
        await warm(http, "/inner/shop/products/1")
        await http.put("/inner/shop/products/1", json=COFFEE)
        assert (await http.get("/inner/shop/products/1")).json() == COFFEE


async def test_writes_work_without_any_cache(shop: Shop) -> None:
    app = FastAPI()
    FastAPIRedis(app).caching()
    add_put(app, shop, CachePut())
    add_writer(app, CacheEvict(group="products"))

    async with client_of(app) as http:
        assert (await http.put("/products/1", json=COFFEE)).json() == COFFEE
        assert (await http.delete("/products/1")).status_code == 200
