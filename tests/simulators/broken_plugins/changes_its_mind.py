"""same-declaration: each process declares something else."""

import os

import sound  # type: ignore[import-not-found] # beside this file

schema = sound.schema


def other(request: object, context: object) -> object:
    answer = schema(request, context)
    answer.description = f"process {os.getpid()}"
    return answer


sound.schema = other
sound.serve()
