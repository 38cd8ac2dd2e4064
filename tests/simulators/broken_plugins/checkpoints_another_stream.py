"""events: a checkpoint speaks of a stream that the schema does not declare."""

import sound  # type: ignore[import-not-found] # beside this file

checkpoint = sound.checkpoint


def other(number: int) -> object:
    made = checkpoint(number)
    made.checkpoint.stream = "other"
    return made


sound.checkpoint = other
sound.serve()
