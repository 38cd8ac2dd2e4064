"""A connector's calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aperio_plugin import connector, declarations, errors
from aperio_plugin._convert import answering, declaring
from aperio_plugin._services import Method, context_of
from aperio_plugin.context import SyncRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_plugin._stream import EventStream
    from aperio_plugin.context import Context


class ConnectorService:
    """A connector's calls."""

    name = "aperio.plugin.v1.ConnectorPlugin"

    def __init__(self, plugin: connector.Connector) -> None:
        self._plugin = plugin

    def methods(self) -> Mapping[str, Method]:
        """Give the methods by name."""
        from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2 as pb

        return {
            "Schema": Method(
                pb.SchemaRequest, lambda _request, _call: declaring.schema_message(self.schema())
            ),
            "TestConnection": Method(
                pb.TestRequest,
                lambda request, call: answering.test_message(
                    self.test_connection(context_of(request.context, call))
                ),
            ),
            "Sync": Method(
                pb.SyncRequest,
                lambda request, call: self.sync(
                    context_of(request.context, call),
                    request.cursor or None,
                    answering.sync_request_from(request),
                ),
                streams=True,
            ),
            "OAuthCallback": Method(
                pb.OAuthCallbackRequest,
                lambda request, call: pb.OAuthCallbackResponse(
                    account=self.oauth_callback(
                        context_of(request.context, call), dict(request.parameters)
                    )
                ),
            ),
        }

    def schema(self) -> connector.Schema:
        """Give the connector's schema.

        Raises:
            ValueError: a part of it makes no sense.
        """
        schema = self._plugin.schema()
        declarations.check(schema.fields, schema.auth)
        return schema

    def test_connection(self, context: Context) -> connector.TestResult:
        """Give the result; an error that the author raised on purpose is one that is not ok."""
        try:
            return self._plugin.test_connection(context)
        except errors.Cancelled:
            raise
        except errors.PluginError as error:
            return connector.TestResult(
                ok=False, diagnostics=(error.diagnostic,), retry_after_s=error.retry_after_s
            )

    def sync(
        self, context: Context, cursor: bytes | None, request: SyncRequest | None = None
    ) -> EventStream:
        """Give the messages of a sync, not begun.

        Raises:
            errors.Unsupported: it is asked for what the connector does not declare as a feature.
            errors.InvalidArgument: it is asked for a stream that is not declared.
        """
        # Here: with all that makes messages of events it is a fifth of what the SDK imports.
        from aperio_plugin._stream import EventStream

        if request and request != SyncRequest():
            _require_declared(request, self.schema())
            # Where to begin says nothing to a sync that goes on.
            context = replace(
                context, request=replace(request, from_time=None) if cursor else request
            )
        return EventStream(
            lambda: self._plugin.sync(context, cursor), f"sync-{context.invocation_id}"
        )

    def oauth_callback(self, context: Context, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """Give the account facts of an OAuth callback."""
        return self._plugin.oauth_callback(context, parameters)


def _require_declared(request: SyncRequest, schema: connector.Schema) -> None:
    feature = connector.Feature
    for asked, wanted in (
        (request.from_time is not None, feature.BACKFILL),
        (request.streams, feature.STREAMS),
        (request.event_types, feature.EVENT_TYPES),
    ):
        if asked and wanted not in schema.features:
            raise errors.Unsupported(f"this connector does not have the feature {wanted.value}")
    declared = {stream.name for stream in schema.streams}
    for name in request.streams:
        if name not in declared:
            raise errors.InvalidArgument(f"this connector has no stream {name!r:.80}")
