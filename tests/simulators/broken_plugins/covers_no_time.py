"""events: a checkpoint covers the year 10000."""

import sound  # type: ignore[import-not-found] # beside this file

checkpoint = sound.checkpoint


def other(number: int) -> object:
    made = checkpoint(number)
    made.checkpoint.covers_until.seconds = 253_402_300_800
    return made


sound.checkpoint = other
sound.serve()
