"""aperio, which compresses nothing, as in all tests: `plugin build` takes a third less."""

import sys

del sys.path[0]  # this folder, where a module of `python -m aperio_cli` has none

from aperio_cli.__main__ import entry_point  # noqa: E402
from aperio_cli.archive import writing  # noqa: E402

if __name__ == "__main__":
    writing.GZIP_LEVEL = 0
    entry_point()
