"""connection: the settings do not work."""

import sound  # type: ignore[import-not-found] # beside this file
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2


def find(_request: object, _context: object) -> object:
    why = common_pb2.Diagnostic(summary="nobody answers")
    return connector_pb2.TestResponse(ok=False, diagnostics=[why])


sound.test_connection = find
sound.serve()
