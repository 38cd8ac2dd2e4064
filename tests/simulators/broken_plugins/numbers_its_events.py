"""same-events: an event gets a new id whenever it is read."""

import itertools

import sound  # type: ignore[import-not-found] # beside this file

event = sound.event
numbers = itertools.count()


def other(number: int) -> object:
    made = event(number)
    made.source_event_id = f"read-{next(numbers)}"
    return made


sound.event = other
sound.serve()
