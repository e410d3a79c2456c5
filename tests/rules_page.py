"""Writes the page of rules: ``python tests/rules_page.py > docs/rules.md``."""

from __future__ import annotations

from redis_fastapi._policy.rules import RULES, Rule

HEAD = """\
# Rules

Declarations are checked up to three times, against one table: by mypy as you write, when the
route is registered, and at start-up, when all routes are known. A rule has the same code
everywhere. This page is generated from that table by `tests/rules_page.py`.

[Types](types.md) describes how to enable mypy's part, what it can prove and how to ignore a rule.

## The rules
"""

TAIL = """
## What only the whole application shows

`redis-fastapi check main:app` exits with code 1 if any rule above is broken, including the five
that need all routes. At start-up those five are warnings, or errors under `REDIS_STRICT`. The same
holds for warnings about a single route, such as an endpoint that takes the whole `Request` and
declares neither `vary` nor `shared`.

Templates are compared with every placeholder as `{}`. `redis-cache-unfilled` and
`redis-cache-unserved` suggest the group or path that was most likely meant. `redis-cache-unfilled`
and `redis-cache-endless` are silent if an endpoint receives the cache or the client itself, since
it may fill or evict groups by hand. Other applications on the same Redis are not visible here;
evicting what they serve works nevertheless.
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
