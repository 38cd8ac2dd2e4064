"""A remediation with actions of every sort; what it did it writes below the setting `folder`.

Config key `folder`: where a line is appended for each execution that is no dry run.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2, remediation_pb2

_Answer = remediation_pb2.ExecuteResponse


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="Acts")
    made.fields.add(key="folder", type="TYPE_TEXT", required=True)
    for key in ("box.unshare", "box.note", "box.slow", "box.die"):
        action = made.remediation.actions.add(key=key, target_types=["file"], supports_dry_run=True)
        action.approval_optional = key == "box.note"
        action.parameters.add(key="reason", type="TYPE_TEXT")
    return made


def execute(request: Any, _context: Any) -> Any:
    if request.dry_run:
        return _Answer(outcome="OUTCOME_WOULD_CHANGE")
    folder = Path(json.loads(request.context.config_json)["folder"])
    if request.action == "box.slow":  # until the test says so
        (folder / "began").touch()
        while not (folder / "go").exists():
            threading.Event().wait(0.01)
    with (folder / "done").open("a") as file:
        again = " again" if request.after_unknown else ""
        file.write(f"{request.action} {request.target} {request.idempotency_key}{again}\n")
    if request.action == "box.die":
        os._exit(3)
    return _Answer(outcome="OUTCOME_CHANGED", provider_request_id=request.approval.reference)


bare.SERVICES["aperio.plugin.v1.RemediationPlugin"] = {
    "Capabilities": bare.unary(capabilities, capabilities_pb2.CapabilitiesRequest),
    "Execute": bare.unary(execute, remediation_pb2.ExecuteRequest),
}
bare.serve()
