"""resume: it never gives a checkpoint."""

import sound  # type: ignore[import-not-found] # beside this file

sound.checkpoint = lambda _number: sound.batch()
sound.serve()
