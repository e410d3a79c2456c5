"""What the type of a parameter cannot have; silent where it might."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, computed_field
from typing_extensions import TypedDict

from redis_fastapi._policy.attributes import why_lacking


class Team(BaseModel):
    name: str


class User(BaseModel):
    id: int
    team: Team | None = None
    alias_name: str = Field("", alias="alias")
    _secret: int = PrivateAttr(1)

    # mypy knows no decorated properties (python/mypy#1362)
    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return "u"

    def method(self) -> None: ...


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Answering(BaseModel):
    def __getattr__(self, name: str) -> Any:
        return name


class Named(BaseModel):
    def __str__(self) -> str:
        return "by name"


class Session(TypedDict):
    token: str
    user: User


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("annotation", "path", "why"),
    [
        (User, "idd", "'User' has no 'idd'; did you mean 'id'?"),
        (User | None, "zzz", "'User' has no 'zzz'"),
        (Annotated[User, "text"], "idd", "'User' has no 'idd'; did you mean 'id'?"),
        (User, "team.nam", "'Team' has no 'nam'; did you mean 'name'?"),
        (User, "alias", "'User' has no 'alias'; did you mean 'alias_name'?"),
        (Session, "tokn", "'Session' has no 'tokn'; did you mean 'token'?"),
        (Session, "user.nobody", "'User' has no 'nobody'"),
        (User, "", "'User' has no text of its own; name a value in it"),
        (User, "team", "'Team' has no text of its own; name a value in it"),
        (Open, "", "'Open' has no text of its own; name a value in it"),
        (Session, "", "'Session' has no text of its own; name a value in it"),
        (dict, "", "'dict' has no text of its own; name a value in it"),
        (dict[str, int], "", "'dict' has no text of its own; name a value in it"),
        (SecretStr | None, "", "all values of 'SecretStr' have one text"),
    ],
)
def test_a_closed_type_shows_which_attributes_it_lacks(
    annotation: Any, path: str, why: str
) -> None:
    assert why_lacking(annotation, tuple(filter(None, path.split(".")))) == why


@pytest.mark.parametrize(
    ("annotation", "path"),
    [
        (User, "id"),
        (User, "team.name"),
        (User, "initial"),
        (User, "initial.anything"),
        (User, "method"),
        (User, "_secret"),
        (User, "model_fields_set"),
        (Session, "token"),
        (Session, "user.id"),
        (Open, "anything"),
        (Answering, "anything"),
        (Named, ""),
        (int, ""),
        (list[int], ""),
        (Point, ""),
        (Point, "anything"),
        (int, "anything"),
        (dict[str, str], "anything"),
        (User | Team, "anything"),
        (Any, "anything"),
        ("Unevaluated", "anything"),
    ],
)
def test_attributes_that_may_exist_are_accepted(annotation: Any, path: str) -> None:
    assert why_lacking(annotation, tuple(filter(None, path.split(".")))) is None
