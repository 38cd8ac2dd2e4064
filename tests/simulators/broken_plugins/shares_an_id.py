"""events: two events of one sync have the same id."""

import sound  # type: ignore[import-not-found] # beside this file

event = sound.event


def other(number: int) -> object:
    made = event(number)
    made.source_event_id = f"e{number // 2}"
    return made


sound.event = other
sound.serve()
