"""checkpoints: it stores a checkpoint over any other one."""

import sound  # type: ignore[import-not-found] # beside this file

store = sound.store


def other(asked: object, answer: object) -> object:
    sound.stored.clear()
    asked.ClearField("replaces")  # type: ignore[attr-defined] # a StoreCheckpoint
    return store(asked, answer)


sound.store = other
sound.serve("destination")
