"""find_markers: which markers an annotation holds, and what is left of it for FastAPI."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, List, Optional, TypeVar, Union  # noqa: UP035

import pytest
import typing_extensions
from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, TypeAdapter

from apps import Product
from redis_fastapi import Cached, CacheEvict, CachePut
from redis_fastapi.markers import find_markers

T = TypeVar("T")

CACHED = Cached(ttl=300)
PUT = CachePut(ttl=60)
EVICT = CacheEvict(group="products")


class Page(BaseModel, Generic[T]):
    items: list[T]


MarkedProduct = Annotated[Product, CACHED]
MarkedList = Annotated[List[T], CACHED]  # noqa: UP006
MarkedAlias = typing_extensions.TypeAliasType("MarkedAlias", Annotated[Product, CACHED])
PlainAlias = typing_extensions.TypeAliasType("PlainAlias", Product)
DescribedAlias = typing_extensions.TypeAliasType(
    "DescribedAlias", Annotated[Product, Field(description="one product")]
)
GenericAlias = typing_extensions.TypeAliasType(
    "GenericAlias", Annotated[list[T], CACHED], type_params=(T,)
)
OuterAlias = typing_extensions.TypeAliasType("OuterAlias", Annotated[MarkedAlias, EVICT])
Tree = typing_extensions.TypeAliasType("Tree", "list[Tree] | int")


def described(annotation: Any) -> Any:
    return Annotated[annotation, Field(description="one product")]


@pytest.mark.parametrize(
    ("annotation", "bare", "markers"),
    [
        (Annotated[Product, CACHED], Product, (CACHED,)),
        (Annotated[Product, PUT, EVICT], Product, (PUT, EVICT)),
        (Annotated[Annotated[Product, CACHED], EVICT], Product, (CACHED, EVICT)),
        (Annotated[None, EVICT], None, (EVICT,)),
        (Annotated[list[Product], CACHED], list[Product], (CACHED,)),
        (Annotated[dict[str, Product], CACHED], dict[str, Product], (CACHED,)),
        (Annotated[Page[Product], CACHED], Page[Product], (CACHED,)),
        (Annotated[Product | None, CACHED], Product | None, (CACHED,)),
        (Annotated[Optional[Product], CACHED], Optional[Product], (CACHED,)),  # noqa: UP045
        (Annotated[Union[Product, int], CACHED], Union[Product, int], (CACHED,)),  # noqa: UP007
        (Annotated[Any, CACHED], Any, (CACHED,)),
        (Annotated[Response, CACHED], Response, (CACHED,)),
        (Annotated[JSONResponse, CACHED], JSONResponse, (CACHED,)),
        (MarkedProduct, Product, (CACHED,)),
        (Annotated[MarkedProduct, EVICT], Product, (CACHED, EVICT)),
        (MarkedList[Product], List[Product], (CACHED,)),  # noqa: UP006
        (MarkedAlias, Product, (CACHED,)),
        (GenericAlias[Product], list[Product], (CACHED,)),
        (OuterAlias, Product, (CACHED, EVICT)),
        (Annotated[PlainAlias, CACHED], PlainAlias, (CACHED,)),
    ],
)
def test_markers_at_the_top_are_split_off(
    annotation: Any, bare: Any, markers: tuple[Any, ...]
) -> None:
    found = find_markers(annotation)

    assert found.annotation == bare
    assert found.markers == markers
    assert (found.classes, found.misplaced) == ((), ())


@pytest.mark.parametrize(
    "annotation",
    [
        Product,
        None,
        type(None),
        Any,
        int | str,
        list[Product],
        described(Product),
        PlainAlias,
        DescribedAlias,
        Tree,
        "Product",
        Callable[[int], Awaitable[Product]],
        typing_extensions.Literal["Cached"],
    ],
)
def test_an_annotation_without_a_marker_is_left_untouched(annotation: Any) -> None:
    found = find_markers(annotation)

    assert found.annotation is annotation
    assert found[1:] == ((), (), ())


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[Product, Field(description="one product"), CACHED],
        Annotated[Product, CACHED, Field(description="one product")],
        Annotated[Annotated[Product, CACHED], Field(description="one product")],
        Annotated[Annotated[Product, Field(description="one product")], CACHED],
    ],
)
def test_other_metadata_is_kept(annotation: Any) -> None:
    found = find_markers(annotation)

    assert found.markers == (CACHED,)
    schema = TypeAdapter(found.annotation).json_schema()
    assert schema["description"] == "one product"


def test_metadata_keeps_its_order() -> None:
    found = find_markers(Annotated[Annotated[int, "a", CACHED, "b"], "c", EVICT])

    assert found.annotation == Annotated[int, "a", "b", "c"]
    assert found.markers == (CACHED, EVICT)


@pytest.mark.parametrize(
    ("annotation", "classes"),
    [
        (Annotated[Product, Cached], ("Cached",)),
        (Annotated[Product, CachePut, CacheEvict], ("CachePut", "CacheEvict")),
        (Annotated[Annotated[Product, Cached], "kept"], ("Cached",)),
    ],
)
def test_a_bare_class_is_not_a_marker(annotation: Any, classes: tuple[str, ...]) -> None:
    found = find_markers(annotation)

    assert found.classes == classes
    assert found.markers == ()


@pytest.mark.parametrize(
    "annotation",
    [
        list[Annotated[Product, CACHED]],
        Annotated[Product, CACHED] | None,
        Optional[Annotated[Product, CACHED]],  # noqa: UP045
        dict[str, list[Annotated[Product, CACHED]]],
        Awaitable[Annotated[Product, CACHED]],
        Callable[[], Annotated[Product, CACHED]],
        Page[Annotated[Product, CACHED]],
        list[MarkedProduct],
        list[MarkedAlias],
        MarkedAlias | None,
        GenericAlias[Product] | None,
        Annotated[list[Annotated[Product, CACHED]], "kept"],
        list[Annotated[Product, Cached]],
    ],
)
def test_a_nested_marker_is_misplaced(annotation: Any) -> None:
    found = find_markers(annotation)

    assert found.markers == ()
    assert found.misplaced == ("Cached",)


def test_a_nested_marker_is_misplaced_even_next_to_a_valid_one() -> None:
    found = find_markers(Annotated[list[Annotated[Product, EVICT]], CACHED])

    assert found.markers == (CACHED,)
    assert found.misplaced == ("CacheEvict",)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is Python 3.12's")
def test_type_statements_are_read() -> None:
    names: dict[str, Any] = {"Annotated": Annotated, "Product": Product, "CACHED": CACHED}
    exec(
        "type One = Annotated[Product, CACHED]\n"
        "type Many[T] = Annotated[list[T], CACHED]\n"
        "type Plain = Product\n"
        "type Endless = list[Endless] | int\n"
        "type Nested = list[One]\n",
        names,
    )

    assert find_markers(names["One"])[:2] == (Product, (CACHED,))
    assert find_markers(names["Many"][Product])[:2] == (list[Product], (CACHED,))
    assert find_markers(names["Plain"]).annotation is names["Plain"]
    assert find_markers(names["Endless"]).misplaced == ()
    assert find_markers(names["Nested"]).misplaced == ("Cached",)


@pytest.mark.parametrize("marker", [CACHED, PUT, EVICT])
def test_markers_are_plain_frozen_data(marker: Any) -> None:
    with pytest.raises(AttributeError):
        marker.group = "other"

    assert hash(marker) == hash(type(marker)(**{f: getattr(marker, f) for f in _fields(marker)}))


def _fields(marker: Any) -> list[str]:
    return list(marker.__dataclass_fields__)


@pytest.mark.parametrize(("kind", "option"), [(Cached, "group"), (CachePut, "key")])
def test_options_are_keyword_only_except_ttl(kind: Any, option: str) -> None:
    assert kind(300).ttl == 300
    with pytest.raises(TypeError):
        kind(300, "products")
    assert getattr(kind(300, **{option: "/products"}), option) == "/products"


def test_an_eviction_takes_no_positional_argument() -> None:
    with pytest.raises(TypeError):
        CacheEvict("products")  # type: ignore[call-arg]  # the mistake


def test_a_marker_leaves_the_schema_of_a_model_as_it_is() -> None:
    assert TypeAdapter(MarkedProduct).json_schema() == TypeAdapter(Product).json_schema()
