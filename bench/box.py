"""The Box connector on its own: how long it takes for all entries of its simulator.

    python bench/box.py serve COUNT          # prints address and token until stdin closes
    python bench/box.py connector URL TOKEN  # syncs; prints entries, seconds of processor time
    python bench/box.py rewritten URL TOKEN  # parses the same pages and writes each entry again

The processor time of this process is what counts: the simulator has its own.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins/box")]

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 256


def serve(count: int) -> None:
    """Serve so many entries, all young enough for the live stream."""
    from tests.simulators import box

    entries = box.make_events(count, spacing=timedelta(seconds=10))
    with box.BoxSimulator(entries) as simulator:
        print(simulator.url, simulator.issue_token(), flush=True)
        sys.stdin.read()


def connector(url: str, token: str) -> int:
    """Sync as a host has it done, up to the bytes of each message; give the number of events."""
    from aperio_plugin._connecting import ConnectorService
    from aperio_plugin._services import Call, context_of
    from aperio_plugin.wire import common_pb2
    from box_connector.connector import BoxConnector

    settings = {"enterprise_id": "8675309", "base_url": url, "client_id": "c"}
    message = common_pb2.InvocationContext(config_json=json.dumps(settings).encode())
    message.token.value = token
    count = 0
    for item in ConnectorService(BoxConnector()).sync(context_of(message, Call()), None):
        item.SerializeToString()
        count += len(item.batch.events)
    return count


def rewritten(url: str, token: str) -> int:
    """Read every page, parse it, and write each entry again, as batches of messages."""
    from aperio_plugin.wire import connector_pb2

    count, batch = 0, []
    for entry in _entries(url, token):
        count += 1
        record = json.dumps(entry, separators=(",", ":")).encode()
        batch.append({"source_event_id": entry["event_id"], "record_json": record})
        if len(batch) == BATCH:
            connector_pb2.SyncEvent(batch={"events": batch}).SerializeToString()
            batch = []
    return count


def _entries(url: str, token: str) -> Iterator[dict[str, object]]:
    import httpx

    position = "0"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30.0) as client:
        while True:
            query = {"stream_type": "admin_logs_streaming", "stream_position": position}
            reply = client.get("/2.0/events", params=query | {"limit": "500"})
            page = json.loads(reply.content)
            yield from page["entries"]
            if not page["entries"] or page["next_stream_position"] == position:
                return
            position = page["next_stream_position"]


def main() -> None:
    """Do what the words say."""
    what, *words = sys.argv[1:]
    if what == "serve":
        serve(int(words[0]))
        return
    measured = {"connector": connector, "rewritten": rewritten}[what]
    began_s = time.process_time()
    count = measured(*words)
    print(count, time.process_time() - began_s)


if __name__ == "__main__":
    main()
