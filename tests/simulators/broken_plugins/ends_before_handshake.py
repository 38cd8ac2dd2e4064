"""start: it ends before it has printed its handshake."""

import sys

import sound  # type: ignore[import-not-found] # beside this file

sound.announce = lambda _path: sys.exit(1)
sound.serve()
