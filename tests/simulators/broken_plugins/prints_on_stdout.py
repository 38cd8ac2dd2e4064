"""stdout: a print goes where the handshake went."""

import os

import sound  # type: ignore[import-not-found] # beside this file

test_connection = sound.test_connection


def other(request: object, context: object) -> object:
    os.write(1, b"tested\n")
    return test_connection(request, context)


sound.test_connection = other
sound.serve()
