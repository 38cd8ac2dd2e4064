"""wrong-settings: it says of an action that is not there that it was done."""

import sound  # type: ignore[import-not-found] # beside this file
from aperio_plugin._generated.aperio.plugin.v1 import remediation_pb2

execute = sound.execute


def other(request: object, context: object) -> object:
    if request.action != "box.unshare":  # type: ignore[attr-defined] # an ExecuteRequest
        return remediation_pb2.ExecuteResponse(outcome="OUTCOME_CHANGED")
    return execute(request, context)


sound.execute = other
sound.settings = lambda _request, _context: {}
sound.serve()
