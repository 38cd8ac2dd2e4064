"""dry-run: the first dry run does what it says."""

import sound  # type: ignore[import-not-found] # beside this file

execute = sound.execute


def other(request: object, context: object) -> object:
    answer = execute(request, context)
    if request.dry_run:  # type: ignore[attr-defined] # an ExecuteRequest
        sound.act(request.target)  # type: ignore[attr-defined] # an ExecuteRequest
    return answer


sound.execute = other
sound.serve()
