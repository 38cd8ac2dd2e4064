"""Ignores SIGTERM, and answers Shutdown without ever ending."""

import signal
import threading
from typing import Any

import bare
from google.protobuf import empty_pb2

signal.signal(signal.SIGTERM, signal.SIG_IGN)


def shutdown(_request: Any, _context: Any) -> Any:
    return empty_pb2.Empty()


bare.shutdown = shutdown
threading.Thread(target=threading.Event().wait).start()
bare.serve()
