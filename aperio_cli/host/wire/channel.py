"""gRPC to one plugin: a channel pinned to one socket, calls with deadlines, errors for people.

The socket is opened with O_PATH and O_NOFOLLOW before it is dialled through /proc/self/fd, so what
was checked is what is dialled, whatever the plugin does to the name afterwards.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aperio_cli.errors.running import (
    HandshakeAddressRefused,
    PluginContractBroken,
    PluginDeadlineExceeded,
    PluginFault,
    PluginRateLimited,
    PluginReportedError,
    PluginUnauthenticated,
)
from aperio_cli.host.answers import understood
from aperio_cli.host.process.advice import OPERATOR, Advice
from aperio_cli.host.process.masking import Masks
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from aperio_plugin.wire import common_pb2, connector_pb2
    from google.protobuf.message import Message
    from grpc.aio import AioRpcError, Channel, UnaryStreamCall

_Reported = TypeVar("_Reported", bound=PluginReportedError)

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
DIAGNOSTICS_KEY: Final = "aperio-diagnostics-bin"

_LOOKAHEAD_BYTES: Final = 1024 * 1024
_MOST_DIAGNOSTICS: Final = 20
_MOST_PARTS: Final = 65_536
_LONGEST_WAIT_S: Final = 366 * 24 * 3600
_DECLARING: Final = ("/Schema", "/Capabilities")
_imported: Final = threading.Event()


def grpc_options() -> list[tuple[str, int | str]]:
    """Channel and server options: no proxy or retries, 4 MiB both ways, nothing shared with others.

    Subchannels are pooled by address in a process, and /proc/self/fd/N names another plugin's
    socket as soon as the number is used again: hence a pool of its own.
    """
    return [
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),  # an action is asked for once; and a call takes 4 % less time
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.default_authority", "localhost"),
        ("grpc.initial_reconnect_backoff_ms", 50),
        # How far a stream may run ahead of its reader: a few batches, so that the plugin makes the
        # next ones while the host writes. Without a probe it stays at that, and so does memory.
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        ("grpc.http2.bdp_probe", 0),
    ]


def has_grpc() -> bool:
    """Return whether what `import_grpc` imports is there, so that it takes no time."""
    return _imported.is_set()


def import_grpc() -> None:
    """Import gRPC and the messages of every start, which takes some 100 ms.

    gRPC's own log would only repeat our errors, so it is off.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc.aio
    from aperio_plugin.wire import capabilities_pb2, connector_pb2, goplugin_pb2
    from google.protobuf import empty_pb2

    del grpc, capabilities_pb2, connector_pb2, goplugin_pb2, empty_pb2
    _imported.set()


@dataclass(frozen=True, slots=True)
class Pinned:
    """An open descriptor of a socket file; close it after the channel."""

    descriptor: int

    @classmethod
    def reserve(cls) -> Self:
        """Return a descriptor that `take` makes a socket's.

        Who dials it before is refused (unix(7)).
        """
        return cls(os.open(os.devnull, os.O_PATH | os.O_CLOEXEC))

    @property
    def target(self) -> str:
        """What gRPC dials."""
        return f"unix:/proc/self/fd/{self.descriptor}"

    def take(self, other: Pinned) -> None:
        """Stand for another's socket from now on; the other is closed."""
        os.dup2(other.descriptor, self.descriptor, inheritable=False)
        other.close()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def pin_socket(
    path: Path, subject: str, *, folder: int | None = None, owner: int | None = None
) -> Pinned:
    """Return the socket in the plugin's own folder, held open without connecting.

    Args:
        path: the socket.
        subject: what to call the plugin in messages.
        folder: descriptor of the folder, which the plugin may have moved away; None takes the
            path as it is.
        owner: the user id that it has to belong to; None: this process's.

    Raises:
        HandshakeAddressRefused: it is missing, a link, no socket, or somebody else's.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path if folder is None else path.name, flags, dir_fd=folder)
    except OSError as error:
        raise _not_a_socket(subject, path, error.strerror or str(error)) from error
    status = os.fstat(descriptor)
    expected = os.geteuid() if owner is None else owner
    if stat.S_ISSOCK(status.st_mode) and status.st_uid == expected:
        return Pinned(descriptor)
    os.close(descriptor)
    raise _not_a_socket(subject, path, f"mode {stat.filemode(status.st_mode)}")


def _not_a_socket(subject: str, path: Path, found: str) -> HandshakeAddressRefused:
    return HandshakeAddressRefused(
        f"{subject} was stopped: the address in its handshake is not a socket of its own",
        why=f"expected a unix socket at {path}\nfound    {found}",
        next=[
            "if you wrote the plugin: make the socket in $PLUGIN_UNIX_SOCKET_DIR itself",
            "otherwise remove the plugin and tell its publisher",
        ],
    )


class Calls:
    """The calls to one plugin; every one has a deadline.

    Args:
        channel: to the plugin.
        subject: what to call the plugin in messages.
        crash: what gives the error for a process that has ended, or None for one that lives.
        masks: the secrets that the plugin is given; no answer and no error shows one.
        advice: what to do when an answer breaks the interface.
        is_killed: whether the process was killed for what it used, and has yet to end.
    """

    def __init__(
        self,
        channel: Channel,
        subject: str,
        crash: Callable[[], Awaitable[PluginFault | None]],
        masks: Masks | None = None,
        advice: Advice = OPERATOR,
        is_killed: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._channel = channel
        self._subject = subject
        self._crash = crash
        self._masks = masks or Masks()
        self._advice = advice
        self._is_killed = is_killed

    async def unary(
        self,
        path: str,
        request: Message,
        reply: type[Any],
        *,
        timeout_s: float,
        wait_for_ready: bool = False,
    ) -> Any:
        """Return the reply to one request, masked but for what a plugin declares.

        Args:
            path: `/package.Service/Method`.
            request: the message to send.
            reply: the class of the message to receive.
            timeout_s: how long the whole call may take.
            wait_for_ready: keep trying to connect until then.

        Raises:
            PluginReportedError: the plugin answered with an error; PluginUnauthenticated for one.
            PluginDeadlineExceeded: it did not answer in time.
            PluginCrashed: its process ended.
            PluginContractBroken: its answer is not the message expected.
        """
        import grpc

        method: Any = self._channel.unary_unary(path)
        payload = request.SerializeToString()
        try:
            data = await method(payload, timeout=timeout_s, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            raise await self.explain(error, path, timeout_s) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise await self.cut_off(error) from None
        with understood(self.broken, _method(path)):
            answer = self.parse(reply, data, path)
            _require_few_parts(answer)
            if not path.endswith(_DECLARING):  # asked without settings, compared with the manifest
                self._masks.message(answer)
        return answer

    async def cut_off(self, error: BaseException) -> BaseException:
        """Return the error for a call whose channel was closed; the same when that is not why.

        gRPC says it by a cancellation, or, of a call that has just begun, by an error of use.

        Args:
            error: what the call came to.
        """
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
            return error  # it is the caller who gives up
        return await self._crash() or error

    async def open_stream(self, path: str, request: Message) -> UnaryStreamCall[bytes, bytes]:
        """Return `stream`.

        Raises:
            PluginCrashed: its process ended, and the channel is closed.
        """
        import grpc.aio

        try:
            return self.stream(path, request)
        except grpc.aio.UsageError as error:
            raise await self.cut_off(error) from None

    def stream(self, path: str, request: Message) -> UnaryStreamCall[bytes, bytes]:
        """Return a call that answers with a stream of bytes for `parse`.

        Its reader sets the deadlines.
        """
        method: Any = self._channel.unary_stream(path)
        call: UnaryStreamCall[bytes, bytes] = method(request.SerializeToString())
        return call

    def parse(self, reply: type[Any], data: bytes, path: str) -> Any:
        """Return the message in what a plugin sent.

        gRPC would do it, but gives None for bytes that are no message, which in a stream looks
        like its end.

        Raises:
            PluginContractBroken: the bytes are not this message.
        """
        from google.protobuf.message import DecodeError

        try:
            return reply.FromString(data)
        except DecodeError as error:
            raise self.broken(_method(path), str(error)) from error

    async def explain(self, error: AioRpcError, path: str, timeout_s: float) -> PluginFault:
        """Return the error for people behind a failed call."""
        import grpc

        code, method = error.code(), _method(path)
        is_gone = code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        if is_gone or (self._is_killed and await self._is_killed()):
            crash = await self._crash()
            if crash is not None:
                return crash
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.late(method, timeout_s)
        with understood(self.broken, method):
            said = _diagnostics(error)
            self._masks.message(said)
            kind = PluginReportedError
            if code is grpc.StatusCode.UNAUTHENTICATED:
                kind = PluginUnauthenticated
            elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and said.items:  # else gRPC's own
                return self._rate_limited(error, said, method)
            return self._reported(kind, error, said, method)

    def late(self, method: str, timeout_s: float) -> PluginDeadlineExceeded:
        """Return the error for a call without an answer."""
        return PluginDeadlineExceeded(
            f"{self._subject} did not answer {method} in time",
            why=f"waited {timeout_s:g} s",
            next=["run it again; with `--verbose` its log shows what it was doing"],
        )

    def broken(self, method: str, why: str) -> PluginContractBroken:
        """Return the error for an answer that the interface does not allow."""
        return PluginContractBroken(
            f"{self._subject} answered {method} with something that breaks the plugin interface",
            why=self._masks.text(why),
            next=[self._advice.broke_interface],
        )

    def _reported(
        self,
        kind: type[_Reported],
        error: AioRpcError,
        said: common_pb2.Diagnostics,
        method: str,
        steps: Sequence[str] = (),
    ) -> _Reported:
        lines = [describe(item) for item in said.items]
        summary = lines[0] if lines else clean(self._masks.cut(error.details() or "no details"))
        wait_s = wait_s_of(said)
        asked = [] if wait_s is None else [f"asked to wait {wait_s} s"]
        details = [item.detail for item in said.items if item.detail]
        passing = error.code().name in {"UNAVAILABLE", "ABORTED"}
        if passing and not steps:
            steps = [_wait_step(wait_s)]
        reported = kind(
            f"{self._subject} could not do {method}: {summary}",
            why="\n".join([f"status {error.code().name}", *asked, *lines[1:]]),
            next=[*steps, *(f"the plugin says: {detail}" for detail in details)],
        )
        status = error.code().name
        reported.is_transient = passing or kind is PluginRateLimited
        reported.status = status
        reported.is_failure = status in {"INTERNAL", "UNKNOWN"}
        reported.retry_after_s = wait_s
        reported.detail = clean("\n".join(details), limit=2000)
        return reported

    def _rate_limited(
        self, error: AioRpcError, said: common_pb2.Diagnostics, method: str
    ) -> PluginRateLimited:
        steps = [_wait_step(wait_s_of(said))]
        return self._reported(PluginRateLimited, error, said, method, steps)


def _require_few_parts(answer: Message) -> None:
    """Require that an answer is one of which every part can be looked at.

    Its 4 MiB may be two million messages without contents, each of which takes a hundred bytes here
    and some time of the loop.

    Raises:
        ValueError: it has too many.
    """
    left, waiting = _MOST_PARTS, [answer]
    while waiting:
        for field, value in waiting.pop().ListFields():
            is_one = isinstance(value, str | bytes | int | float) or hasattr(value, "ListFields")
            several: Any = (value,) if is_one else value
            left -= len(several)
            if left < 0:
                raise ValueError(f"expected at most {_MOST_PARTS} parts")
            if field.message_type and not field.message_type.GetOptions().map_entry:
                waiting.extend(several)


def _wait_step(wait_s: int | None) -> str:
    step = "wait some minutes" if wait_s is None else f"wait {wait_s} s"
    return f"{step}, then run it again"


def _method(path: str) -> str:
    return path.rpartition("/")[2]


def _diagnostics(error: AioRpcError) -> common_pb2.Diagnostics:
    """Return the diagnostics that came with a failed call, at most 20; none if they are none."""
    from aperio_plugin.wire import common_pb2
    from google.protobuf.message import DecodeError

    metadata = error.trailing_metadata() or ()
    data = next((value for key, value in metadata if key == DIAGNOSTICS_KEY), b"")
    try:
        said = common_pb2.Diagnostics.FromString(data if isinstance(data, bytes) else b"")
    except DecodeError:
        return common_pb2.Diagnostics()
    del said.items[_MOST_DIAGNOSTICS:]
    return said


def wait_s_of(said: common_pb2.Diagnostics | connector_pb2.TestResponse) -> int | None:
    """Return the whole seconds that a plugin asks to wait; None: it does not, or for no time."""
    asked = said.retry_after
    wait_s = asked.seconds + (asked.nanos > 0)
    return wait_s if 0 < wait_s <= _LONGEST_WAIT_S else None


def describe(diagnostic: Any) -> str:
    """Return a protobuf Diagnostic in one line: the summary, what it is about, its code."""
    where = "".join(
        f"[{step.index}]" if step.WhichOneof("selector") == "index" else f".{step.key}"
        for step in diagnostic.attribute.steps
    ).lstrip(".")
    about = f" ({where})" if where else ""
    code = f" [{diagnostic.code}]" if diagnostic.code else ""
    return clean(f"{diagnostic.summary}{about}{code}").replace("\n", " ")
