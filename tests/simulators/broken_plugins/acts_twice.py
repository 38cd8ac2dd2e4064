"""same-key: it acts again for a key that it has seen."""

import itertools

import sound  # type: ignore[import-not-found] # beside this file

execute = sound.execute
times = itertools.count(1)


def other(request: object, context: object) -> object:
    answer = execute(request, context)
    if answer.outcome != answer.OUTCOME_CHANGED:
        return answer
    again = type(answer)(outcome="OUTCOME_CHANGED")
    again.changes.add(after_json=b"%d" % next(times))
    return again


sound.execute = other
sound.serve()
