"""Nothing is broken here: the sound plugin as a destination."""

import sound  # type: ignore[import-not-found] # beside this file

sound.serve("destination")
