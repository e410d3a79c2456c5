"""Writes the page of rules: ``python tests/rules_page.py > docs/rules.md``."""

from __future__ import annotations

from redis_fastapi._rules import RULES, Rule

HEAD = """\
# Rules

What a declaration may say is checked up to three times, by one table: by mypy while you write,
when the route is registered, and at start-up, where all routes are known. The same code names a
rule everywhere. This page is made from that table by `tests/rules_page.py`.

How to switch mypy's part on, what it can prove and how to ignore a rule: [Types](types.md).

## The rules
"""

TAIL = """
## What only the whole application shows

`redis-fastapi check main:app` ends with exit code 1 where a rule above is broken, the five of all
routes together included. To a start those five are warnings, under `REDIS_STRICT` errors; so is
what is said of one route alone, such as an endpoint that takes the whole `Request` and names
neither `vary` nor `shared`.

Templates are compared with every placeholder as `{}`. `redis-cache-unfilled` and
`redis-cache-unserved` name the group or the path that was most likely meant. Nothing is said of
groups, by `redis-cache-unfilled` or `redis-cache-endless`, where an endpoint receives the cache or
the client itself and may fill or evict them by hand. Another application on the same Redis is not
seen: what it serves may be evicted from here all the same.
"""


def section(rule: Rule) -> str:
    """One rule."""
    return (
        f"\n### `{rule.code}`\n\n{rule.why}\n\n"
        f"- wrong: `{rule.wrong}`\n- right: `{rule.right}`\n- seen by: {rule.seen}\n"
    )


def page() -> str:
    """The whole page."""
    return HEAD + "".join(map(section, RULES)) + TAIL


if __name__ == "__main__":
    print(page(), end="")
