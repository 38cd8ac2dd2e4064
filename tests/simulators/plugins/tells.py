"""A connector made with the SDK that tells its secrets, as an author may by accident."""

import base64
import logging
import os
import sys
from collections.abc import Iterator

from aperio_plugin import connector, destination, errors


class Tells(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(
            provider="BOX",
            name="Tells",
            category="test",
            description="A connector for tests",
            availability=connector.Availability.PREVIEW,
            fields=(
                connector.Field(key="mode", label="What to do"),
                connector.Field(key="account", label="Whose"),
                connector.Field(
                    key="api_key", label="Key", type=destination.FieldType.PASSWORD, secret=True
                ),
            ),
            auth=connector.ApiKey("api_key"),
        )

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        key = context.config.text("api_key")
        return connector.TestResult(
            ok=False,
            account={
                "key": key,
                "traceparent": context.traceparent,
                "tracestate": context.tracestate,
            },
            diagnostics=(connector.Diagnostic(f"{key} is not accepted", detail=f"by {key}"),),
        )

    def sync(self, context: connector.Context, _cursor: bytes | None) -> Iterator[connector.Item]:
        key = context.config.text("api_key")
        basic = base64.b64encode(f"{context.config.text('account')}:{key}".encode()).decode()
        print(f"using {key}")  # noqa: T201 - what it is for
        sys.stdout.write(key[:7])
        sys.stdout.flush()
        sys.stderr.write("between\n")
        sys.stdout.write(key[7:] + "\n")
        context.logger.warning("with %s", key, extra={"header": f"Basic {basic}"})
        logging.getLogger("httpx").info("GET https://api.example.com/?key=%s", key)
        yield connector.Progress(done=1, total=2, message=f"reading as {key}")
        yield connector.Event(
            source_event_id=f"e-{key}",
            event_type="box.login",
            occurred_at=1_700_000_000,
            record={"key": key},
        )
        match context.config.text("mode"):
            case "header":
                f"Bearer {key}\u20ac".encode("latin-1")
            case "denied":
                raise errors.PermissionDenied(f"not with {key}", detail=f"try another than {key}")
            case "crash":
                os.write(2, f"fatal: {key}\n".encode())
                os._exit(3)
            case "refused":
                from aperio_plugin._convert import events

                events.event_fields = unchecked
                yield connector.Event(
                    source_event_id=f"{key}-", event_type="", occurred_at=0, record={}
                )
            case _:
                pass


def unchecked(event: connector.Event) -> tuple[dict[str, object], int]:
    return {"source_event_id": event.source_event_id, "record_json": b"{}"}, 100


if __name__ == "__main__":
    connector.serve(Tells())
