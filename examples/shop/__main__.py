"""Run the shop with uvicorn and print what to try: ``python -m shop [UVICORN OPTIONS]``."""

from __future__ import annotations

import sys

import uvicorn

WELCOME = """\
The shop opens at {url}: a page that shows the cache at work, and {url}/docs. Or try:

  curl -i {url}/products/1
      X-Redis-Cache: MISS; a second time HIT, with its Age and the same ETag

  curl -i {url}/products/1 -H 'If-None-Match: "PASTE THE ETAG"'
      304 Not Modified, without a body

  curl -i -X PUT {url}/products/1 -H 'Authorization: Bearer staff-token' \\
       -H 'Content-Type: application/json' \\
       -d '{{"name": "Yirgacheffe", "category": "beans", "price": 1290, "description": "On sale."}}'
      then the first curl again: HIT, with the new price

  curl -i {url}/categories/beans
      its page, evicted by that PUT: MISS with the new price, then HIT

  curl -i {url}/basket -H 'Authorization: Bearer ada-token'
  curl -i {url}/basket -H 'Authorization: Bearer grace-token'
      one entry per user; 401 without a token, even if cached

  curl -i -X POST '{url}/categories/tea/sale?percent=20' -H 'Authorization: Bearer staff-token'
      every price of a category, and everything that shows one, at once

  curl {url}/report -H 'Authorization: Bearer staff-token'
  curl {url}/health
"""


def main(arguments: list[str]) -> None:
    """Print the curl lines once, in the process that starts the workers."""
    options = ["shop.main:app", "--no-access-log", *arguments]
    with uvicorn.main.make_context("shop", options) as context:
        url = "http://{host}:{port}".format_map(context.params)
        print(WELCOME.format(url=url), flush=True)
        uvicorn.main.invoke(context)


if __name__ == "__main__":
    main(sys.argv[1:])
