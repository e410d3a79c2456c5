"""The page of rules is the table of rules."""

from dataclasses import fields
from itertools import product
from pathlib import Path

from redis_fastapi import Cached, CacheEvict, CachePut
from redis_fastapi._policy.facts import UNKNOWN as UNKNOWN_VALUE
from redis_fastapi._policy.facts import EndpointFacts, MarkerFacts, PutFacts
from redis_fastapi._policy.rules import RULES, check
from rules_page import page

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"


def test_the_page_of_rules_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python tests/rules_page.py > docs/rules.md"


def test_every_rule_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")

    for rule in RULES:
        assert f"### `{rule.code}`" in text
        assert rule.wrong in text


# Facts that only the table can be given today


def codes(*markers: MarkerFacts, **facts: object) -> list[tuple[str, str | None]]:
    known = EndpointFacts("read", markers=markers, **facts)  # type: ignore[arg-type]  # facts by name
    return [(problem.code, problem.argument) for problem in check(known)]


def test_a_stale_window_needs_a_lifetime() -> None:
    stale = {"stale_while_revalidate": 30, "stale_if_error": 60}
    value = "redis-cache-value"

    assert codes(MarkerFacts("Cached", stale)) == [
        (value, "stale_while_revalidate"),
        (value, "stale_if_error"),
    ]
    assert codes(MarkerFacts("Cached", {**stale, "ttl": 60})) == []
    assert codes(MarkerFacts("Cached", {**stale, "ttl": UNKNOWN_VALUE})) == []
    assert codes(MarkerFacts("Cached", {"stale_if_error": 0})) == []


SAMPLES: dict[str, tuple[object, ...]] = {
    "ttl": (None, 0, 60),
    "group": ((), "", "a", "p:{nobody}"),
    "key": (None, "relative", "/p/{id}"),
    "vary": ((), "nobody.id", "id"),
    "shared": (None, False, True),
    "private": (False, True),
    "stale_while_revalidate": (0, -1, 30),
    "stale_if_error": (0, -1, 30),
    "statuses": (None, {404: 10}, {206: 10}),
    "cdn_ttl": (None, 0, 60),
    "directives": ((), "max-age=3", "public"),
    "beta": (0.0, -1.0, 1.0),
    "jitter": (0.0, 0.5, 1.0),
    "when": (None, 5, print),
}
"""Right and wrong values of the markers' arguments, the default first."""

FACTS: dict[str, tuple[object, ...]] = {
    "methods": (frozenset({"GET"}), frozenset({"PUT"})),
    "parameters": (frozenset(), frozenset({"id", "nobody"})),
    "cache_route": (False, True),
    "generator": (False, True),
    "form": (False, True),
    "secured_by": ((), ("user",)),
    "put": (PutFacts(), PutFacts(reader=""), PutFacts(same_model=False)),
}


def test_problems_of_an_unknown_argument_hold_for_each_of_its_values() -> None:
    for kind, (name, values), (other, others) in product(
        ("Cached", "CachePut", "CacheEvict"), SAMPLES.items(), SAMPLES.items()
    ):
        for value in () if name == other else values:
            said = codes(MarkerFacts(kind, {name: value, other: UNKNOWN_VALUE}))
            for known in others:
                assert set(said) <= set(codes(MarkerFacts(kind, {name: value, other: known})))


def test_problems_without_a_fact_hold_for_each_of_its_values() -> None:
    for kind, (name, values), (fact, facts) in product(
        ("Cached", "CachePut", "CacheEvict"), SAMPLES.items(), FACTS.items()
    ):
        for value, known in product(values, facts):
            marker = MarkerFacts(kind, {name: value})
            assert set(codes(marker)) <= set(codes(marker, **{fact: known}))


def test_every_argument_of_the_markers_has_samples() -> None:
    """Except those that are on or off, for which there is no rule."""
    markers = (Cached, CachePut, CacheEvict)
    names = {one.name for marker in markers for one in fields(marker)}
    switches = {one.name for marker in markers for one in fields(marker) if one.default is False}

    assert names - switches - {"_", "single_flight", "local"} <= set(SAMPLES)
