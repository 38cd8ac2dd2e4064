"""events: an event's type is not named after the provider."""

import sound  # type: ignore[import-not-found] # beside this file

event = sound.event


def other(number: int) -> object:
    made = event(number)
    made.event_type = "login"
    return made


sound.event = other
sound.serve()
