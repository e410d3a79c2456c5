"""Measures the cost of requests with this library and others: `python tests/benchmarks --help`."""

import os
import sys

NO_HIREDIS = "BENCH_NO_HIREDIS"
"""The variable that leaves redis-py in a process with its own parser, in Python."""

if NO_HIREDIS in os.environ:
    # how redis-py finds it missing; nothing has imported redis yet
    sys.modules["hiredis"] = None  # type: ignore[assignment]
