"""sigterm: it goes on."""

import sound  # type: ignore[import-not-found] # beside this file

sound.on_sigterm = lambda _number, _frame: None
sound.serve()
