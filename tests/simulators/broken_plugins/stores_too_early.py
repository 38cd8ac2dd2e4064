"""checkpoints: it stores a checkpoint whatever became of the envelopes before it."""

import sound  # type: ignore[import-not-found] # beside this file

store = sound.store


def other(asked: object, answer: object) -> object:
    return store(asked, type(answer)())


sound.store = other
sound.serve("destination")
