"""What plugins answer, and what they are asked."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from aperio_plugin import errors
from aperio_plugin._convert.calls import (
    ask_to_wait,
    diagnostic_message,
    diagnostic_messages,
    named,
    path_message,
)
from aperio_plugin._convert.objects import decode_object, encode_value
from aperio_plugin._convert.texts import cut
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from aperio_plugin.context import SyncRequest

if TYPE_CHECKING:
    from aperio_plugin import connector, destination, remediation
    from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2, remediation_pb2

_MAX_REFERENCE_BYTES: Final = 256


def test_message(result: connector.TestResult) -> connector_pb2.TestResponse:
    """Return the message of a connection test's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    message = connector_pb2.TestResponse(
        ok=result.ok, diagnostics=diagnostic_messages(result.diagnostics), account=result.account
    )
    ask_to_wait(message, result.retry_after_s)
    return message


def sync_request_from(message: connector_pb2.SyncRequest) -> SyncRequest:
    """Return what the host asks a sync for.

    Raises:
        errors.InvalidArgument: the time is none.
    """
    since = None
    if message.HasField("from"):
        try:
            since = getattr(message, "from").ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise errors.InvalidArgument("from is no time in the years 1 to 9999") from error
    return SyncRequest(
        from_time=since, streams=tuple(message.streams), event_types=tuple(message.event_types)
    )


def execute_request_from(message: remediation_pb2.ExecuteRequest) -> remediation.ExecuteRequest:
    """Return what the host wants executed.

    Raises:
        errors.InvalidArgument: the parameters or the context are not a JSON object.
    """
    from aperio_plugin.remediation import Approval, ExecuteRequest

    approval = None
    if message.HasField("approval"):
        approval = Approval(reference=message.approval.reference, sha256=message.approval.sha256)
    return ExecuteRequest(
        action=message.action,
        target=message.target,
        idempotency_key=message.idempotency_key,
        parameters=decode_object(message.parameters_json, "the action's parameters"),
        dry_run=message.dry_run,
        target_type=message.target_type,
        context=decode_object(message.context_json, "the action's context"),
        approval=approval,
        is_after_unknown=message.after_unknown,
    )


def execute_message(result: remediation.ExecuteResult) -> remediation_pb2.ExecuteResponse:
    """Return the message of an action's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin._generated.aperio.plugin.v1 import remediation_pb2 as pb

    return pb.ExecuteResponse(
        outcome=named(pb.ExecuteResponse.Outcome, "OUTCOME", result.outcome),
        changes=[
            pb.ExecuteResponse.Change(
                attribute=path_message(change.attribute),
                before_json=encode_value(change.before),
                after_json=encode_value(change.after),
            )
            for change in result.changes
        ],
        diagnostics=diagnostic_messages(result.diagnostics),
        provider_request_id=cut(result.provider_request_id, _MAX_REFERENCE_BYTES),
    )


def envelope_from(message: destination_pb2.OutboundEnvelope) -> destination.Envelope:
    """Return an envelope that the host hands over.

    Raises:
        errors.InvalidArgument: it is of a kind that this interface does not have.
    """
    from aperio_plugin.destination import Envelope, Stream

    try:
        stream = Stream(message.kind)
    except ValueError as error:
        raise errors.InvalidArgument(f"unknown kind of envelope {message.kind!r}") from error
    return Envelope(message.id, stream, message.envelope_json)


def delivery_message(result: destination.DeliveryResult) -> destination_pb2.EnvelopeResult:
    """Return the message of one envelope's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as pb

    message = pb.EnvelopeResult(
        id=result.id, status=named(pb.EnvelopeResult.Status, "STATUS", result.status)
    )
    if result.diagnostic is not None:
        message.diagnostic.CopyFrom(diagnostic_message(result.diagnostic))
    ask_to_wait(message, result.retry_after_s)
    return message
