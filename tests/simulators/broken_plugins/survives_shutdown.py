"""shutdown: it answers, and lives on."""

import sound  # type: ignore[import-not-found] # beside this file
from google.protobuf import empty_pb2

sound.shutdown = lambda _request, _context: empty_pb2.Empty()
sound.serve()
