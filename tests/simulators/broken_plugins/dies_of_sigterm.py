"""sigterm: it does not handle it, so its socket stays behind."""

import signal

import sound  # type: ignore[import-not-found] # beside this file

sound.on_sigterm = signal.SIG_DFL
sound.serve()
