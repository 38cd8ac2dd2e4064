"""events: an event does not say when it happened."""

import sound  # type: ignore[import-not-found] # beside this file

event = sound.event


def other(number: int) -> object:
    made = event(number)
    made.ClearField("occurred_at")
    return made


sound.event = other
sound.serve()
