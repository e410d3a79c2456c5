"""The page of rules is the table of rules."""

from pathlib import Path

from redis_fastapi._rules import RULES, EndpointFacts, MarkerFacts, PutFacts, Unknown, check
from redis_fastapi._rules import UNKNOWN as UNKNOWN_VALUE
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


def test_stale_on_purpose_needs_a_lifetime() -> None:
    stale = {"stale_while_revalidate": 30, "stale_if_error": 60}
    value = "redis-cache-value"

    assert codes(MarkerFacts("Cached", stale)) == [
        (value, "stale_while_revalidate"),
        (value, "stale_if_error"),
    ]
    assert codes(MarkerFacts("Cached", {**stale, "ttl": 60})) == []
    assert codes(MarkerFacts("Cached", {**stale, "ttl": UNKNOWN_VALUE})) == []
    assert codes(MarkerFacts("Cached", {"stale_if_error": 0})) == []


def test_every_rule_is_silent_about_unknown_arguments() -> None:
    names = ("ttl", "group", "key", "vary", "shared", "when", "stale_if_error", "beta", "jitter")
    for kind in ("Cached", "CachePut", "CacheEvict"):
        marker = MarkerFacts(kind, dict.fromkeys(names, UNKNOWN_VALUE))

        assert isinstance(marker.arguments["ttl"], Unknown)
        assert codes(marker, secured_by=("user",), put=PutFacts(groups=None)) == []
