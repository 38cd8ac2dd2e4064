"""The plugin that is measured: `events.records`, handed over as dicts or as bytes."""

import json
from collections.abc import Iterator

from aperio_plugin import connector
from aperio_plugin.records import split
from events import records


class BenchConnector(connector.Connector):
    """Gives `count` events and nothing else."""

    def schema(self) -> connector.Schema:
        """Declare two settings."""
        return connector.Schema(
            provider="BENCH",
            name="Bench",
            fields=[
                connector.Field(key="count", label="Events", type=connector.FieldType.NUMBER),
                connector.Field(key="records", label="dict or bytes"),
            ],
        )

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        """Say that it works."""
        del context
        return connector.TestResult(ok=True)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        """Give every event, then end."""
        del cursor
        count = int(context.config["count"])
        if context.config["records"] == "bytes":
            body = json.dumps({"list": [*records(1)]}).encode()
            record = split(body, "list").records[0].json  # checked once, as those of a reply are
            for number in range(count):
                yield connector.Event(
                    source_event_id=f"evt-{number:012d}",
                    event_type="bench.item_shared",
                    occurred_at=1772356297,
                    record=record,
                )
            return
        for entry in records(count):
            yield connector.Event(
                source_event_id=entry["event_id"],
                event_type="bench.item_shared",
                occurred_at=entry["created_at"],
                record=entry,
            )
