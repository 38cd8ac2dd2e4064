"""A connector made with the SDK: prints, logs, keeps state, and fails on request."""

from collections.abc import Iterator

from aperio_plugin import connector, errors


class Example(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(
            provider="BOX",
            name="With SDK",
            category="test",
            description="A connector for tests",
            availability=connector.Availability.PREVIEW,
            fields=(connector.Field(key="mode", label="What to do"),),
        )

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        count = len(list(context.state.keys()))
        context.state.put(f"run-{count}", b"1")
        return connector.TestResult(ok=True, account={"runs": str(count)})

    def sync(self, context: connector.Context, _cursor: bytes | None) -> Iterator[connector.Item]:
        print("printed by the author")  # noqa: T201 - what it is for
        context.logger.warning("logged by the author")
        if context.config.get("mode") == "denied":
            raise errors.PermissionDenied(
                "the scope is missing", detail="grant it", attribute="mode"
            )
        if context.config.get("mode") == "limited":
            raise errors.RateLimited("too many calls", retry_after_s=context.config.get("wait_s"))
        if context.config.get("mode") == "unavailable":
            raise errors.Unavailable("it is being mended", retry_after_s=30)
        for number in range(1000):
            yield connector.Event(
                source_event_id=f"e{number}",
                event_type="box.login",
                occurred_at=1_700_000_000 + number,
                record={"n": number},
            )
        yield connector.Checkpoint(b"1000")


if __name__ == "__main__":
    connector.serve(Example())
