"""Tells what it was given: environment, folder, limits, open descriptors; in its schema."""

import json
import os
import pathlib
import resource
from typing import Any

ENVIRONMENT = dict(os.environ)
DESCRIPTORS = len(list(pathlib.Path("/proc/self/fd").iterdir()))
STATUS = pathlib.Path("/proc/self/status").read_text()

import bare  # noqa: E402 - only now
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2  # noqa: E402 - after it


def schema(_request: Any, _context: Any) -> Any:
    found = {
        "environment": ENVIRONMENT,
        "descriptors": DESCRIPTORS,
        "folder": os.getcwd(),  # noqa: PTH109 - as the kernel says it
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "no_new_privileges": "NoNewPrivs:\t1\n" in STATUS,
        "is_session_leader": os.getsid(0) == os.getpid(),
    }
    return connector_pb2.SchemaResponse(provider="BOX", description=json.dumps(found))


bare.serve({"Schema": bare.unary(schema, connector_pb2.SchemaRequest)})
