"""What a request costs, with this library and others: `python tests/benchmarks --help`."""

import os
import sys

WITHOUT_HIREDIS = "BENCH_WITHOUT_HIREDIS"
"""The variable that leaves redis-py alone with its own parser, in every process of a benchmark."""

if os.environ.get(WITHOUT_HIREDIS):
    # how redis-py finds it missing; nothing has imported redis yet
    sys.modules["hiredis"] = None  # type: ignore[assignment]
