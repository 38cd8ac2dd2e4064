"""by-hand: it serves whoever starts it."""

import sound  # type: ignore[import-not-found] # beside this file

sound.refuse = lambda: None
sound.serve()
