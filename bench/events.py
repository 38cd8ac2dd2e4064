"""The generator that is measured: so many records of about 500 bytes, as dicts."""

import json
import sys
from collections.abc import Iterator
from typing import Any


def records(count: int) -> Iterator[dict[str, Any]]:
    """Make `count` audit records, each about 500 bytes as JSON."""
    for number in range(count):
        yield {
            "event_id": f"evt-{number:012d}",
            "event_type": "ITEM_SHARED",
            "created_at": "2026-03-01T09:11:37Z",
            "created_by": {
                "type": "user",
                "id": f"{17738363 + number % 977}",
                "name": "Bruno Meier",
                "login": "bruno.meier@example.com",
            },
            "source": {
                "type": "file",
                "id": f"{409835821338 + number}",
                "name": "Quarterly results, final version (2).xlsx",
                "parent": {"type": "folder", "id": "96306441781", "name": "Finance"},
            },
            "ip_address": "203.0.113.67",
            "session_id": None,
            "additional_details": {
                "service_name": "Box Web App",
                "shared_link": number % 2 == 0,
            },
        }


if __name__ == "__main__":
    for record in records(int(sys.argv[1])):
        print(json.dumps(record))
