"""shutdown: it ends with a status that means failure."""

import sound  # type: ignore[import-not-found] # beside this file
from google.protobuf import empty_pb2


def shutdown(_request: object, _context: object) -> empty_pb2.Empty:
    sound.end(3)
    return empty_pb2.Empty()


sound.shutdown = shutdown
sound.serve()
