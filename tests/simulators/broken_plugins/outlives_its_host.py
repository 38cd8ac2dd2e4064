"""host-gone: it does not look at its lifeline."""

import sound  # type: ignore[import-not-found] # beside this file

sound.watch_lifeline = lambda: None
sound.serve()
