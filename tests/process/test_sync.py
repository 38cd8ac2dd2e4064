"""Whole syncs: real plugin processes, a real token server, a real database."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from aperio_cli.commands.plugin import showing
from aperio_cli.data.state import MAX_CURSOR_BYTES, Slice, StateDatabase
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import (
    EventNotPassedOn,
    PluginConfigInvalid,
    PluginContractBroken,
    PluginCrashed,
    PluginDeadlineExceeded,
    PluginReportedError,
    PluginUnauthenticated,
    TokenRefused,
    TokenUrlRefused,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls import sync as syncing
from aperio_cli.host.calls.connector import Connector
from aperio_cli.host.calls.envelopes import Outbound, lines_of
from aperio_cli.host.calls.invocation import AccessToken, Invocation
from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.scope import SyncScope
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.host.calls.sync import (
    CheckpointStored,
    EventDoubted,
    Note,
    SyncSummary,
    SyncTask,
    TokenRenewed,
    WriterSink,
    sync_connector,
)
from aperio_cli.host.services import keyvalue
from aperio_cli.models.ownership import owner_of_folder
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.running.delivering import Deliverer, Deliveries, DeliveryTask
from tests.descriptors import open_descriptors
from tests.simulators.greedy import greedy

from .conftest import PLUGINS, Host, development

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from aperio_cli.host.launch import RunningPlugin

pytestmark = pytest.mark.usefixtures("forked_plugins")
OWNER = owner_of_folder(PluginId("acme", "box"), PLUGINS)
SLICE = Slice(OWNER, "local", "local")


def slice_of(folder: Path) -> Slice:
    """What a script of this folder stores, as simulators store theirs in `SLICE`."""
    return Slice(owner_of_folder(PluginId("acme", "box"), folder), "local", "local")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDatabase]:
    with StateDatabase(tmp_path / "state.db") as opened:
        yield opened


class Sink:
    """Keeps the lines it accepted; breaks after so many."""

    def __init__(self, *, breaks_after: int = 10**9) -> None:
        self.lines: list[bytes] = []
        self._breaks_after = breaks_after

    async def __call__(self, events: Sequence[Outbound]) -> None:
        if len(self.lines) + len(events) > self._breaks_after:
            raise BrokenPipeError
        self.lines += lines_of(events).splitlines(keepends=True)

    def envelopes(self) -> list[dict[str, Any]]:
        return [json.loads(line)["envelope"] for line in self.lines]

    def source_ids(self) -> list[str]:
        return [envelope["source_event_id"] for envelope in self.envelopes()]


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def sync(
    host: Host, name: str | Path, state: StateDatabase, sink: Callable[..., Any], **request: Any
) -> tuple[SyncSummary, list[Note]]:
    """Run a simulator's sync."""
    notes: list[Note] = []
    names = ("full", "strict", "scope", "keep", "drain")
    how = {name: request.pop(name) for name in names if name in request}

    async def use(plugin: RunningPlugin) -> SyncSummary:
        session = await open_session(plugin, SessionRequest(**request))
        return await sync_connector(session, SyncTask(sink, state, notes.append, **how))

    return host.run(name, use), notes


@contextmanager
def token_server(*, status: int = 200, body: bytes = b"") -> Iterator[tuple[str, list[Any]]]:
    """A token endpoint that gives token-1, token-2 and so on, and what it was asked."""
    asked: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked.append(parse_qs(self.rfile.read(length).decode()))
            token = {"access_token": f"token-{len(asked)}", "expires_in": 60}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body or json.dumps(token).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


def credentials(url: str, **more: object) -> dict[str, object]:
    return {"base_url": url, "client_id": "me", "client_secret": "s3cr3t", **more}


def test_who_holds_the_grant_brings_the_token_and_goes_on_with_another(
    host: Host, state: StateDatabase
) -> None:
    """Client id and secret are then nobody's business here; and no other token is asked for."""
    sink = Sink()

    def go_on(token: str) -> SyncSummary:
        request = {"settings": {"base_url": "http://127.0.0.1:9"}, "token": AccessToken(token)}
        return sync(host, "expiring", state, sink, **request)[0]

    for token in ("first", "second"):
        with pytest.raises(PluginUnauthenticated):
            go_on(token)
    assert go_on("third").events == 2

    ids = sink.source_ids()
    assert list(dict.fromkeys(ids)) == ["e0", "e1", "e2", "e3", "e4", "e5"]
    assert state.checkpoint(SLICE)
    assert ids.count("e2") == 2  # came with the first token after its last checkpoint


# ── at least once ─────────────────────────────────────────────────────────────────────────────────


def test_a_sync_gives_stamped_lines_and_stores_the_checkpoint(
    host: Host, state: StateDatabase
) -> None:
    sink = Sink()

    summary, notes = sync(host, "bare", state, sink, organization_id="acme-corp")

    assert (summary.events, summary.checkpoints, summary.tokens_renewed) == (2, 1, 0)
    assert notes == [CheckpointStored(2)]
    stored = state.checkpoint(Slice(OWNER, "acme-corp", "local"))
    assert stored is not None
    assert (stored.cursor, stored.version) == (b"2", "1.2.0")
    assert sink.envelopes()[0] | {"id": ""} == {
        "id": "",
        "schema_version": "aperio.event.v1",
        "source": "aperio",
        "producer": "acme/box@1.2.0",
        "organization_id": "acme-corp",
        "integration_id": "local",
        "provider": "BOX",
        "kind": "event",
        "event_type": "box.login",
        "actor": None,
        "occurred_at": "2023-11-14T22:13:20Z",
        "source_event_id": "e0",
        "record": {"n": 0},
        "origin": "admin_logs",
        "native_event_type": "LOGIN",
    }


def test_a_second_sync_goes_on_from_the_checkpoint(host: Host, state: StateDatabase) -> None:
    sink = Sink()

    sync(host, "bare", state, sink)
    sync(host, "bare", state, sink)

    assert sink.source_ids() == ["e0", "e1", "e2", "e3"]


def test_a_full_sync_hands_over_no_cursor(host: Host, state: StateDatabase, tmp_path: Path) -> None:
    state.store_checkpoint(slice_of(tmp_path), b"7", version="1.0.0")
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "def sync(request, context):\n"
        "    yield bare.batch(int(request.cursor or 0), 1)\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )
    whole, rest = Sink(), Sink()

    sync(host, script, state, whole, full=True)
    sync(host, script, state, rest)

    assert (whole.source_ids(), rest.source_ids()) == (["e0"], ["e7"])


def test_what_was_observed_is_settled_after_each_message_in_its_order(
    host: Host, state: StateDatabase
) -> None:
    happened: list[str] = []

    async def accept(events: Sequence[Outbound]) -> None:
        happened.append(f"{len(events)} events")

    async def settle() -> None:
        happened.append("settled")

    async def use(plugin: RunningPlugin) -> None:
        session = await open_session(plugin, SessionRequest())
        observe = lambda note: happened.append(type(note).__name__)  # noqa: E731 - one word
        await sync_connector(session, SyncTask(accept, state, observe, settle=settle))

    host.run("bare", use)

    assert happened == ["2 events", "settled", "CheckpointStored", "settled"]


def test_no_checkpoint_is_stored_when_the_sink_did_not_accept_what_is_before_it(
    host: Host, state: StateDatabase
) -> None:
    with pytest.raises(BrokenPipeError):
        sync(host, "bare", state, Sink(breaks_after=1))

    assert state.checkpoint(SLICE) is None


def test_a_crash_loses_nothing_and_repeats_carry_the_same_ids(
    host: Host, state: StateDatabase
) -> None:
    crashed, resumed = Sink(), Sink()
    with pytest.raises(PluginCrashed):
        sync(host, "crashes", state, crashed)

    sync(host, "bare", state, resumed)

    stored = state.checkpoint(SLICE)
    assert stored is not None
    assert (crashed.source_ids(), resumed.source_ids()) == (["e0", "e1"], ["e2", "e3"])
    assert len({envelope["id"] for envelope in crashed.envelopes() + resumed.envelopes()}) == 4


def test_what_cannot_be_passed_on_is_told_and_counted_and_the_sync_goes_on(
    host: Host, state: StateDatabase
) -> None:
    sink = Sink()

    summary, notes = sync(host, "mortal", state, sink)

    assert (summary.events, summary.dead_letters, summary.checkpoints) == (2, 2, 1)
    assert sink.source_ids() == ["e0", "e2"]
    of_host, of_plugin, checkpoint = notes
    assert "event 'e1' (box.login): expected record_json: one JSON object" in str(of_host)
    assert str(of_plugin) == "entry 7: no entry"
    assert checkpoint == CheckpointStored(2)
    stored = state.checkpoint(SLICE)
    assert stored is not None
    assert stored.cursor == b"3"


def test_a_strict_sync_stops_at_the_first_dead_letter_before_its_checkpoint(
    host: Host, state: StateDatabase
) -> None:
    with pytest.raises(EventNotPassedOn) as caught:
        sync(host, "mortal", state, Sink(), strict=True)

    assert (caught.value.code, caught.value.exit_status) == ("event-not-passed-on", 5)
    assert "event 'e1'" in caught.value.why
    assert state.checkpoint(SLICE) is None
    assert sync(host, "bare", state, Sink(), strict=True)[0].dead_letters == 0


def test_a_text_that_is_not_utf_8_costs_its_own_event_and_a_name_is_mended(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    script, sink = tmp_path / "plugin.py", Sink()
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "class Raw:\n"
        "    def __init__(self, data): self.SerializeToString = lambda: data\n"
        "def sync(request, context):\n"
        "    made = bare.batch(0, 3)\n"
        "    made.batch.events[0].actor.display_name = 'Ada AAA'\n"
        "    made.batch.events[1].event_type = 'box.AAA'\n"
        "    yield Raw(made.SerializeToString().replace(b'AAA', b'\\xed\\xa0\\xbd'))\n"
        "    yield bare.checkpoint(b'3')\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )

    summary, notes = sync(host, script, state, sink)

    assert (summary.events, summary.dead_letters, summary.checkpoints) == (2, 1, 1)
    assert str(notes[0]).endswith(": event_type is not UTF-8 from byte 4")
    assert sink.source_ids() == ["e0", "e2"]
    assert sink.envelopes()[0]["actor"] == {"display_name": "Ada \ufffd\ufffd\ufffd"}


def test_a_slow_sink_slows_the_plugin_down(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "def sync(request, context):\n"
        "    for n in range(400):\n"
        "        made = bare.batch(n, 1)\n"
        "        made.batch.events[0].record_json = b'{\"p\": \"' + b'x' * 100_000 + b'\"}'\n"
        f"        open({str(made)!r}, 'a').write('.')\n"
        "        yield made\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )
    waiting = asyncio.Event()

    async def stuck(_events: Sequence[Outbound]) -> None:
        await waiting.wait()

    async def use(plugin: RunningPlugin) -> int:
        session = await open_session(plugin, SessionRequest())
        task = asyncio.ensure_future(sync_connector(session, SyncTask(stuck, state)))
        seen = -1
        while (size := made.stat().st_size if made.exists() else 0) != seen or not size:
            seen = size
            await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])
        return seen

    assert host.run(script, use) < 60  # of 400; some 1 MiB is under way


def test_a_sink_that_blocks_for_ever_does_not_block_a_cancellation(
    host: Host, state: StateDatabase
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    filled = b"x" * 10_000_000

    async def use(plugin: RunningPlugin) -> None:
        session = await open_session(plugin, SessionRequest())
        sink = WriterSink(lambda data: write_all(writer, data + filled))
        task = asyncio.ensure_future(sync_connector(session, SyncTask(sink, state)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, timeout=0.5)

    began_s = time.monotonic()
    host.run("bare", use)

    assert time.monotonic() - began_s < 30
    os.close(reader)  # which ends the thread that is still writing


def test_a_writer_sink_passes_on_what_its_writer_raises(host: Host, state: StateDatabase) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            sync(host, "bare", state, WriterSink(lambda data: write_all(writer, data)))
    finally:
        os.close(writer)

    assert state.checkpoint(SLICE) is None


LONG_CURSOR = """\
import sys; sys.path.insert(0, {plugins!r})
import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
def sync(request, context):
    yield bare.checkpoint(b"x" * {size_bytes})
bare.serve(
    {{
        "Schema": bare.unary(
            lambda request, context: connector_pb2.SchemaResponse(provider="BOX"),
            connector_pb2.SchemaRequest,
        ),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }}
)
"""


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────


def test_an_expired_token_is_renewed_and_the_sync_goes_on_from_the_checkpoint(
    host: Host, state: StateDatabase
) -> None:
    sink = Sink()

    with token_server() as (url, asked):
        summary, notes = sync(host, "expiring", state, sink, settings=credentials(url))

    assert summary.tokens_renewed == notes.count(TokenRenewed()) == 2
    assert len(asked) == 3
    assert sorted(set(sink.source_ids())) == ["e0", "e1", "e2", "e3", "e4", "e5"]
    ids = {envelope["source_event_id"]: envelope["id"] for envelope in sink.envelopes()}
    assert all(ids[e["source_event_id"]] == e["id"] for e in sink.envelopes())
    # What comes again with another token is no second event of that id.
    assert not [note for note in notes if isinstance(note, EventDoubted)]


def test_a_checkpoint_is_kept_before_it_is_stored_and_nothing_is_held_back_behind_a_token(
    host: Host, state: StateDatabase
) -> None:
    """Who accepts the events may keep the cursor with them: what is said to it, in order."""
    said: list[Any] = []

    async def accept(envelopes: Sequence[Outbound]) -> None:
        said.append(len(envelopes))

    async def keep(cursor: bytes, _covered: Mapping[str, str]) -> None:
        stored = state.checkpoint(SLICE)
        said.append((stored.cursor if stored else None, cursor))
        if cursor == b"6":
            raise UsageError("it is full")

    async def drain() -> None:
        said.append("drain")

    how = {"keep": keep, "drain": drain}
    with token_server() as (url, _), pytest.raises(UsageError, match="it is full"):
        sync(host, "expiring", state, accept, settings=credentials(url), **how)
    assert said == [
        2, (None, b"2"), 1, "drain", 2, (b"2", b"4"), 1, "drain", 2, (b"4", b"6"),
    ]  # fmt: skip
    stored = state.checkpoint(SLICE)
    assert stored
    assert stored.cursor == b"4"


def test_a_sync_ends_after_so_many_tokens_however_far_each_one_brings_it(
    host: Host, state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "MOST_TOKENS", 2)
    with token_server() as (url, asked), pytest.raises(PluginUnauthenticated):
        sync(host, "expiring", state, Sink(), settings=credentials(url))
    assert len(asked) == 2
    stored = state.checkpoint(SLICE)
    assert stored is not None
    assert stored.cursor == b"4"
    monkeypatch.setattr(syncing, "MOST_TOKENS", 3)
    with token_server() as (url, _):
        sync(host, "expiring", state, Sink(), settings=credentials(url), full=True)


def test_another_token_brings_no_more_time(
    host: Host, state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is of the sync as a whole: a plugin could go on for ever otherwise."""
    given: list[float] = []
    stream = Connector.sync

    def noting(self: Connector, *arguments: Any, **how: Any) -> Any:
        given.append(how["deadline_s"])
        return stream(self, *arguments, **how)

    monkeypatch.setattr(Connector, "sync", noting)
    with token_server() as (url, _):
        sync(host, "expiring", state, Sink(), settings=credentials(url))
    assert len(given) == 3
    assert len(set(given)) == 1


@pytest.mark.parametrize(
    ("size_bytes", "is_kept"), [(MAX_CURSOR_BYTES, 1), (MAX_CURSOR_BYTES + 1, 0)]
)
def test_a_cursor_that_is_too_long_breaks_the_interface_before_anybody_keeps_it(
    host: Host, tmp_path: Path, size_bytes: int, is_kept: int
) -> None:
    """Also where the caller keeps cursors, as through the control API."""
    script = tmp_path / "plugin.py"
    script.write_text(LONG_CURSOR.format(plugins=str(PLUGINS), size_bytes=size_bytes))
    kept: list[bytes] = []

    class Keeper:
        def checkpoint(self, _slice: Slice, _choice: str = "") -> None:
            return None

        def store_checkpoint(self, _slice: Slice, cursor: bytes, **_more: Any) -> None:
            kept.append(cursor)

    keeper: Any = Keeper()
    with nullcontext() if is_kept else pytest.raises(PluginContractBroken) as caught:
        sync(host, script, keeper, Sink())
    assert len(kept) == is_kept
    assert caught is None or "a cursor of at most 65536 bytes" in caught.value.why


@pytest.mark.parametrize(
    ("full", "read"),
    [(True, ["e0 e1 e2", "e2 e3 e4", "e4 e5"]), (False, ["e2 e3 e4", "e4 e5"])],
)
def test_a_full_sync_begins_anew_once_and_goes_on_from_its_checkpoint_with_each_new_token(
    host: Host, state: StateDatabase, *, full: bool, read: list[str]
) -> None:
    state.store_checkpoint(SLICE, b"2", version="1.0.0")
    sink = Sink()

    with token_server() as (url, asked):
        settings = credentials(url)
        summary, _ = sync(host, "expiring", state, sink, settings=settings, full=full)

    assert sink.source_ids() == " ".join(read).split()
    assert len(asked) == summary.tokens_renewed + 1 == len(read)


def test_the_client_secret_goes_to_the_token_server_and_not_to_the_plugin(
    host: Host, state: StateDatabase
) -> None:
    with token_server() as (url, asked):
        sync(host, "expiring", state, Sink(), settings=credentials(url))

    assert asked[0] == {
        "grant_type": ["client_credentials"],
        "client_id": ["me"],
        "client_secret": ["s3cr3t"],
    }
    assert "s3cr3t" not in repr(host.logs)


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"secret": True},
        {"secret": True, "host_only": True},
    ],
)
def test_the_client_secret_stays_with_the_host_whatever_the_plugin_says_about_it(
    host: Host, state: StateDatabase, tmp_path: Path, declared: dict[str, Any]
) -> None:
    sink = Sink()

    with token_server() as (url, asked):
        sync(host, greedy(tmp_path, declared), state, sink, settings=credentials(url))

    (event,) = sink.envelopes()
    assert event["record"] == {"base_url": url, "client_id": "me"}
    assert asked[0]["client_secret"] == ["s3cr3t"]


@pytest.mark.parametrize(
    ("fields", "address", "why"),
    [
        ([{"host_only": True}, {}], "{base_url}/token", "`client_secret` is declared 2 times"),
        ([{}, {"host_only": True}], "{base_url}/token", "`client_secret` is declared 2 times"),
        ([], "{base_url}/token", "auth names `client_secret`, which is no setting"),
        ([{}], "{base_url}/{client_secret}", "token_url has the secret `client_secret` in it"),
    ],
)
def test_a_declaration_that_could_give_the_secret_away_is_refused_before_anything_is_sent(
    host: Host,
    state: StateDatabase,
    tmp_path: Path,
    fields: list[dict[str, Any]],
    address: str,
    why: str,
) -> None:
    script = greedy(tmp_path, *fields, address=address)

    with token_server() as (url, asked), pytest.raises(PluginContractBroken) as caught:
        sync(host, script, state, Sink(), settings=credentials(url))

    assert (caught.value.code, caught.value.exit_status) == ("plugin-contract-broken", 5)
    assert why in caught.value.why
    assert "s3cr3t" not in json.dumps(caught.value.to_json())
    assert asked == []


@pytest.mark.parametrize("stated", [{"base_url": ""}, {"base_url": None}, {}])
def test_a_default_of_the_plugins_cannot_have_the_secret_sent_to_this_machine(
    host: Host, state: StateDatabase, tmp_path: Path, stated: dict[str, object]
) -> None:
    secrets: dict[str, object] = {"client_id": "me", "client_secret": "s3cr3t"}

    with token_server() as (url, asked):
        script = greedy(tmp_path, {"secret": True}, default=json.dumps(url))
        with pytest.raises(TokenUrlRefused):
            sync(host, script, state, Sink(), settings=secrets | stated)
        assert asked == []

        sync(host, script, state, Sink(), settings=secrets | {"base_url": url})
        assert len(asked) == 1


def test_a_token_that_is_refused_without_any_progress_ends_the_sync(
    host: Host, state: StateDatabase
) -> None:
    with token_server() as (url, asked), pytest.raises(PluginUnauthenticated) as caught:
        sync(host, "expiring", state, Sink(), settings=credentials(url, stuck=True))

    assert (caught.value.code, caught.value.exit_status) == ("plugin-unauthenticated", 5)
    assert len(asked) == 2
    stored = state.checkpoint(SLICE)
    assert stored is not None
    assert stored.cursor == b"2"


def test_refused_credentials_are_told_without_the_secret(host: Host, state: StateDatabase) -> None:
    body = b'{"error": "invalid_client", "error_description": "s3cr3t is wrong"}'

    with token_server(status=401, body=body) as (url, _), pytest.raises(TokenRefused) as caught:
        sync(host, "expiring", state, Sink(), settings=credentials(url))

    assert "401 invalid_client" in caught.value.why
    assert "s3cr3t" not in json.dumps(caught.value.to_json())


MOODY_WITH_TOKENS = f"""\
import sys; sys.path.insert(0, {str(PLUGINS)!r})
import moody
def capabilities(request, context):
    made = moody.capabilities(request, context)
    made.auth.oauth2.grants.append(made.auth.oauth2.GRANT_CLIENT_CREDENTIALS)
    made.auth.oauth2.token_url = "{{base_url}}/token"
    made.auth.oauth2.client_id_field = "client_id"
    made.auth.oauth2.client_secret_field = "client_secret"
    made.fields.add(key="base_url", type="TYPE_URL")
    made.fields.add(key="client_id", type="TYPE_TEXT")
    made.fields.add(key="client_secret", type="TYPE_PASSWORD", secret=True)
    return made
moody.serve(capabilities)
"""


@pytest.mark.parametrize(
    ("calls", "expires_in", "tokens", "accepted"),
    [
        (["ok", "ok", "ok"], 3600, 1, 6),
        (["ok", "UNAUTHENTICATED", "ok"], 3600, 2, 6),
        (["ok", "ok", "ok"], 30, 3, 6),
        (["ok", "ok", "ok"], None, 3, 6),
        (["UNAUTHENTICATED", "ok", "ok"], 3600, 1, None),
        (["ok", "UNAUTHENTICATED", "UNAUTHENTICATED"], 3600, 2, None),
    ],
    ids=["valid", "refused", "soon expired", "no end", "new one refused", "two refused"],
)
def test_a_delivery_uses_a_token_for_as_long_as_it_works(
    host: Host,
    tmp_path: Path,
    calls: list[str],
    expires_in: int | None,
    tokens: int,
    accepted: int | None,
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(MOODY_WITH_TOKENS)
    plan = json.dumps({"out": str(tmp_path / "out"), "calls": calls})
    envelopes = [
        Outbound(name, "event", b'{"source_event_id": "%b"}' % name.encode(), "local")
        for name in "abcdef"
    ]

    async def use(plugin: RunningPlugin) -> int:
        session = await open_session(plugin, SessionRequest(settings=credentials(url, plan=plan)))
        deliverer = Deliverer(session, DeliveryTask())
        await deliverer(envelopes)
        return deliverer.tally.accepted

    token = json.dumps({"access_token": "t", "expires_in": expires_in}).encode()
    with token_server(body=token) as (url, asked):
        made = development(script, kind="destination", provider="MOODY")
        with nullcontext() if accepted else pytest.raises(PluginUnauthenticated):
            assert host.run(made, use) == accepted
    assert len(asked) == tokens


def test_a_delivery_without_tokens_is_not_repeated_when_its_key_is_refused(
    host: Host, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(PluginUnauthenticated):
        deliver(host, out, "", "abcd", calls=["ok", "UNAUTHENTICATED", "ok"])
    assert [json.loads(line)["source_event_id"] for line in out.read_text().splitlines()] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(("retry_for_s", "fails"), [(60.0, False), (0.0, True)])
def test_a_delivery_that_takes_too_long_is_tried_again(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_for_s: float, *, fails: bool
) -> None:
    monkeypatch.setattr("aperio_cli.host.calls.destination.DELIVER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("aperio_cli.running.delivering._FIRST_WAIT_S", 0.01)
    stated = json.dumps({"out": str(tmp_path / "out"), "calls": ["hang", "ok"]})

    async def use(plugin: RunningPlugin) -> Deliveries:
        session = await open_session(plugin, SessionRequest(settings={"plan": stated}))
        task = DeliveryTask(None, retry_for_s, must_settle=retry_for_s > 0)
        deliverer = Deliverer(session, task)
        record = b'{"source_event_id": "%b"}'
        await deliverer([Outbound(n, "event", record % n.encode(), "local") for n in "ab"])
        return deliverer.tally

    made = development(PLUGINS / "moody.py", kind="destination", provider="MOODY")
    if fails:
        with pytest.raises(PluginDeadlineExceeded):
            host.run(made, use)
        return
    tally = host.run(made, use)
    assert (tally.accepted, tally.repeated) == (2, 2)


def deliver(host: Host, out: Path, poison: str, names: str, **plan: object) -> Deliveries:
    """What becomes of events when the destination fails at some of them."""
    stated = json.dumps({"out": str(out), "poison": list(poison), **plan})
    deliveries = []

    async def use(plugin: RunningPlugin) -> None:
        session = await open_session(plugin, SessionRequest(settings={"plan": stated}))
        deliverer = Deliverer(session, DeliveryTask())
        deliveries.append(deliverer.tally)
        record = b'{"source_event_id": "%b"}'
        await deliverer([Outbound(n, "event", record % n.encode(), "local") for n in names])

    host.run(development(PLUGINS / "moody.py", kind="destination", provider="MOODY"), use)
    return deliveries[0]


def test_an_envelope_at_which_a_destination_fails_is_rejected_and_the_others_arrive(
    host: Host, tmp_path: Path
) -> None:
    tally = deliver(host, tmp_path / "out", "bceh", "abcdefgh")

    assert (tally.accepted, tally.rejected) == (4, 4)
    lines = (tmp_path / "out").read_text().splitlines()
    assert [json.loads(line)["source_event_id"] for line in lines] == ["a", "d", "f", "g"]
    assert [each["id"] for each in tally.reasons] == ["b", "c", "e", "h"]
    assert "bitter" in str(tally.reasons[0]["reason"])


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("UNAVAILABLE", "destination-unavailable"),
        ("RESOURCE_EXHAUSTED", "plugin-rate-limited"),
        ("INVALID_ARGUMENT", "plugin-reported-error"),
    ],
)
def test_a_destination_that_is_down_is_told_from_one_that_refuses_the_settings(
    host: Host, tmp_path: Path, status: str, code: str
) -> None:
    with pytest.raises(AperioError) as caught:
        deliver(host, tmp_path / "out", "", "abc", calls=[f"{status}:30"])

    assert (caught.value.code, caught.value.exit_status) == (code, 5 if "reported" in code else 4)
    assert "the service is down" in caught.value.what + caught.value.why
    if caught.value.exit_status == 4:
        assert caught.value.to_json()["retry_after_s"] == 30


def test_a_destination_that_fails_at_all_of_them_is_at_fault_itself(
    host: Host, tmp_path: Path
) -> None:
    with pytest.raises(PluginReportedError, match="bitter"):
        deliver(host, tmp_path / "out", "abcdefghijklmn", "abcdefghijklmn")


# ── configuration ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "key", "why"),
    [
        ({"base_urll": "x"}, "base_urll", "did you mean base_url?"),
        ({"stuck": "maybe"}, "stuck", "expected true or false"),
        ({"base_url": 5}, "base_url", "expected text, received a number"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_asked_of_the_service(
    host: Host, state: StateDatabase, settings: dict[str, object], key: str, why: str
) -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        sync(host, "expiring", state, Sink(), settings=settings)

    assert (caught.value.code, caught.value.exit_status) == ("plugin-config-invalid", 2)
    assert caught.value.what.startswith(f"`{key}`")
    assert why in caught.value.why


# ── the key-value store ───────────────────────────────────────────────────────────────────────────


async def declared(plugin: RunningPlugin, organization_id: str = "local") -> str:
    session = await open_session(plugin, SessionRequest(organization_id))
    return str(session.declaration.name)


def told_by_store(host: Host, organization_id: str = "local", **changes: Any) -> str:
    use = functools.partial(declared, organization_id=organization_id)
    return str(host.run(development(PLUGINS / "remembers.py", **changes), use))


def test_a_plugin_with_state_reaches_its_slice_and_no_other(
    host: Host, state: StateDatabase
) -> None:
    host.options["state"] = state

    told = told_by_store(host, "acme-corp", state=True)

    assert told == "1 PERMISSION_DENIED FAILED_PRECONDITION NOT_FOUND runs 1"
    item = state.get(Slice(OWNER, "acme-corp", "local"), "runs")
    assert item is not None
    assert item.value == b"1"
    assert state.get(SLICE, "runs") is None


def test_two_folders_of_one_id_share_no_stored_state(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    host.options["state"] = state
    first, second, linked = (tmp_path / name for name in ("first", "second", "linked"))
    linked.symlink_to(first)
    told = {}
    for turn, folder in enumerate((first, second, linked)):
        folder.mkdir(exist_ok=True)
        script = folder / "remembers.py"
        script.write_text(
            f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
            + (PLUGINS / "remembers.py").read_text()
        )
        build = development(script, state=True)
        told[turn] = host.run(build, declared)
    assert [told[turn].split()[0] for turn in range(3)] == ["1", "1", "2"]


def test_a_plugin_that_asked_for_no_state_gets_no_store(host: Host, state: StateDatabase) -> None:
    host.options["state"] = state

    assert told_by_store(host, state=False) == "no store"


def test_a_plugin_holds_few_connections_to_the_store_whatever_it_opens(
    host: Host, state: StateDatabase
) -> None:
    """Each costs descriptors of the host, who needs them for all of its plugins."""
    host.options["state"] = state
    before = open_descriptors()
    seen = []

    async def use(plugin: RunningPlugin) -> str:
        told = (await plugin.connector.schema(Invocation())).name
        seen.append(len(open_descriptors() - before))
        return str(told)

    build = development(PLUGINS / "besieges.py", state=True)
    assert host.run(build, use) == f"{keyvalue.MOST_CONNECTIONS} of 100"
    assert seen[0] < 4 * keyvalue.MOST_CONNECTIONS + 32
    refusals = [message for message in host.messages() if "its key-value store: " in message]
    assert refusals == ["its key-value store: a caller was refused: 16 are connected already"]


# ── what an event may say ─────────────────────────────────────────────────────────────────────────

PROMISING = """
import sys; sys.path.insert(0, {plugins!r})
import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

def schema(request, context):
    made = bare.schema(request, context)
    made.event_types.append("box.login")
    return made

def sync(request, context):
    made = bare.batch(0, 4)
    for event, (identity, kind) in zip(made.batch.events, {events!r}):
        event.source_event_id, event.event_type = identity, kind
    yield made
    yield bare.checkpoint(b"1")

bare.serve({{
    "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
    "Sync": bare.stream(sync, connector_pb2.SyncRequest),
}})
"""


def promising(folder: Path, *events: tuple[str, str]) -> Path:
    script = folder / "promising.py"
    script.write_text(PROMISING.format(plugins=str(PLUGINS), events=events))
    return script


def test_events_that_are_less_than_promised_arrive_and_are_said(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    events = [("a", "box.login"), ("b", "box.new"), ("a", "box.login"), ("c", "box.new")]
    sink = Sink()
    summary, notes = sync(host, promising(tmp_path, *events), state, sink)

    assert (summary.events, sink.source_ids()) == (4, ["a", "b", "a", "c"])
    doubts = [note for note in notes if isinstance(note, EventDoubted)]
    assert doubts == [
        EventDoubted("b", "event_type box.new: the schema does not declare it"),
        EventDoubted("a", "source_event_id: another event of this sync has it, too"),
    ]
    assert showing.note(doubts[0])[0] == {
        "type": "doubt",
        "source_event_id": "b",
        "why": "event_type box.new: the schema does not declare it",
    }


def test_an_event_of_another_provider_is_a_dead_letter(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    events = [("a", "box.login"), ("b", "okta.login"), ("c", "box.login"), ("d", "box.")]
    sink = Sink()
    summary, notes = sync(host, promising(tmp_path, *events), state, sink)

    assert (summary.events, summary.dead_letters, sink.source_ids()) == (2, 2, ["a", "c"])
    letters = [note for note in notes if isinstance(note, DeadLetter)]
    assert [(letter.source_event_id, letter.reason) for letter in letters] == [
        ("b", "event_type okta.login: expected `box.` and a name"),
        ("d", "event_type box.: expected `box.` and a name"),
    ]


# ── what a checkpoint may say ─────────────────────────────────────────────────────────────────────

COVERING = """
import sys; sys.path.insert(0, {plugins!r})
import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

def schema(request, context):
    made = bare.schema(request, context)
    for name in {streams!r}:
        made.streams.add(name=name)
    return made

def sync(request, context):
    for number, (stream, seconds) in enumerate({checkpoints!r}):
        made = bare.checkpoint(b"%d" % number)
        made.checkpoint.stream = stream
        if seconds is not None:
            made.checkpoint.covers_until.seconds = seconds
        yield made

bare.serve({{
    "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
    "Sync": bare.stream(sync, connector_pb2.SyncRequest),
}})
"""
NINE = 1_767_603_600  # 2026-01-05T09:00:00Z


def covering(folder: Path, streams: Sequence[str], *checkpoints: tuple[str, int | None]) -> Path:
    script = folder / "covering.py"
    text = COVERING.format(plugins=str(PLUGINS), streams=list(streams), checkpoints=checkpoints)
    script.write_text(text)
    return script


@pytest.mark.parametrize(
    ("streams", "checkpoints", "covered"),
    [
        ((), [("", None)], {"": None}),
        ((), [("", NINE), ("", None)], {"": "2026-01-05T09:00:00Z"}),
        (("a", "b"), [("", NINE)], dict.fromkeys("ab", "2026-01-05T09:00:00Z")),
        (
            ("a", "b"),
            [("b", NINE), ("b", NINE + 60)],
            {"a": None, "b": "2026-01-05T09:01:00Z"},
        ),
    ],
)
def test_what_a_checkpoint_covers_is_told_and_stored(
    host: Host,
    state: StateDatabase,
    tmp_path: Path,
    streams: Sequence[str],
    checkpoints: list[tuple[str, int | None]],
    covered: dict[str, str | None],
) -> None:
    script = covering(tmp_path, streams, *checkpoints)

    summary, notes = sync(host, script, state, Sink())

    assert {each.stream: each.covers_until for each in summary.coverage} == covered
    assert [note.stream for note in notes if isinstance(note, CheckpointStored)] == [
        stream for stream, _ in checkpoints
    ]
    stored = state.checkpoint(slice_of(tmp_path))
    assert stored is not None
    assert stored.covered == {name: until for name, until in covered.items() if until}


def test_a_later_sync_remembers_what_was_covered_and_a_full_one_does_not(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    sync(host, covering(tmp_path, "ab", ("a", NINE)), state, Sink())
    script = covering(tmp_path, "ab", ("b", NINE))

    later, _ = sync(host, script, state, Sink())
    full, _ = sync(host, script, state, Sink(), full=True)

    assert [each.covers_until for each in later.coverage] == ["2026-01-05T09:00:00Z"] * 2
    assert [each.covers_until for each in full.coverage] == [None, "2026-01-05T09:00:00Z"]


def test_a_checkpoint_that_says_less_than_the_truth_holds_and_covers_nothing(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    beyond = 253_402_300_800  # the year 10000
    script = covering(tmp_path, "a", ("other", NINE), ("a", beyond), ("", -(2**62)))

    summary, notes = sync(host, script, state, Sink())

    stored = state.checkpoint(slice_of(tmp_path))
    assert stored is not None
    assert (stored.cursor, stored.covered, summary.checkpoints) == (b"2", {}, 3)
    doubts = [note for note in notes if isinstance(note, EventDoubted)]
    assert doubts == [
        EventDoubted("", "stream other: the schema does not declare it"),
        EventDoubted("", "covers_until: expected a time in years 1 to 9999"),
        EventDoubted("", "covers_until: expected a time in years 1 to 9999"),
    ]
    assert showing.note(doubts[0])[1] == "checkpoint: stream other: the schema does not declare it"


# ── what a sync may ask for ───────────────────────────────────────────────────────────────────────

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def asked_of(sink: Sink) -> dict[str, Any]:
    """What the connector was asked for, as its events tell."""
    found: dict[str, Any] = sink.envelopes()[0]["record"]
    return found


def test_a_choice_is_asked_for_filtered_once_more_and_has_a_checkpoint_of_its_own(
    host: Host, state: StateDatabase
) -> None:
    sink, again, everything = Sink(), Sink(), Sink()
    scope = SyncScope(MONDAY, ("sign_ins", "admin_logs"), ("box.logout",))

    first, _ = sync(host, "choosy", state, sink, scope=scope)
    sync(host, "choosy", state, again, scope=replace(scope, from_time=None))
    whole, _ = sync(host, "choosy", state, everything)

    asked = {"streams": ["sign_ins", "admin_logs"], "event_types": ["box.logout"]}
    assert asked_of(sink) == {"cursor": "", "from": "2026-01-05T00:00:00Z", **asked}
    assert asked_of(again) == {"cursor": "2", "from": "", **asked}
    assert (first.events, first.filtered, sink.source_ids()) == (1, 1, ["e1"])
    assert [each.stream for each in first.coverage] == ["sign_ins", "admin_logs"]
    assert asked_of(everything) == {"cursor": "", "from": "", "streams": [], "event_types": []}
    assert (whole.events, whole.filtered) == (2, 0)
    assert state.checkpoint(SLICE, scope.key) is not None


def test_a_beginning_is_asked_for_before_a_checkpoint_or_with_full_only(
    host: Host, state: StateDatabase
) -> None:
    sync(host, "choosy", state, Sink())
    with pytest.raises(UsageError, match="has begun: nothing was read") as caught:
        sync(host, "choosy", state, Sink(), scope=SyncScope(MONDAY))
    assert "--full" in caught.value.next[0]

    sink = Sink()
    sync(host, "choosy", state, sink, scope=SyncScope(MONDAY), full=True)
    assert asked_of(sink)["from"] == "2026-01-05T00:00:00Z"


def test_a_connector_without_features_is_asked_for_nothing(
    host: Host, state: StateDatabase
) -> None:
    with pytest.raises(UsageError, match="is nothing that `acme/box`"):
        sync(host, "bare", state, Sink(), scope=SyncScope(streams=("admin_logs",)))
    assert sync(host, "bare", state, Sink(), scope=SyncScope())[0].events == 2
