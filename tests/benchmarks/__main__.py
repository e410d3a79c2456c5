"""Entry point of ``python tests/benchmarks``."""

import sys
from pathlib import Path

# a directory that is run is its own first path, where it could not be imported as a package
sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
