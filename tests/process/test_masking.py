"""A plugin that tells its secrets, whatever way: the host shows none of them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from aperio_cli.data.state import StateDatabase
from aperio_cli.errors.running import PluginCrashed, PluginFault
from aperio_cli.host.calls.envelopes import lines_of
from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.host.calls.sync import ProgressMade, SyncTask, sync_connector
from aperio_cli.host.process.masking import Referenced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.sync import Note
    from aperio_cli.host.launch import RunningPlugin

    from .conftest import Host

pytestmark = pytest.mark.usefixtures("forked_plugins")
KEY = "open-sesame-0123456789"
MARK = "[masked: api_key]"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDatabase]:
    with StateDatabase(tmp_path / "state.db") as opened:
        yield opened


class Told:
    """What came out of one sync: events apart from all that is said."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.notes: list[Note] = []
        self.error: PluginFault | None = None

    async def accept(self, events: Sequence[Outbound]) -> None:
        self.lines += lines_of(events).splitlines(keepends=True)


def sync(host: Host, state: StateDatabase, mode: str, **settings: object) -> Told:
    told = Told()
    given = {"mode": mode, "account": "ada", "api_key": KEY, **settings}

    async def use(plugin: RunningPlugin) -> None:
        session = await open_session(plugin, SessionRequest(settings=given))
        try:
            await sync_connector(session, SyncTask(told.accept, state, told.notes.append))
        except PluginFault as error:
            told.error = error

    host.run("tells", use)
    return told


def said(host: Host, told: Told) -> str:
    """All that a person or a log would see of it."""
    error = told.error
    parts = [error.what, error.why, *error.next] if error else []
    return "\n".join([*map(repr, host.logs), *map(repr, told.notes), *parts])


@pytest.mark.parametrize("mode", ["well", "header", "denied", "crash", "refused"])
def test_what_a_plugin_tells_is_shown_without_its_secrets(
    host: Host, state: StateDatabase, mode: str
) -> None:
    told = sync(host, state, mode)

    shown = said(host, told)
    assert KEY not in shown
    assert KEY[:7] not in shown
    assert KEY[8:] not in shown
    assert f"with {MARK}" in shown
    assert f"?key={MARK}" in shown
    assert (told.error is None) is (mode in {"well", "refused"})
    if mode != "crash":  # of which gRPC may have sent nothing
        assert f"using {MARK}" in shown
        assert f"reading as {MARK}" in shown
        assert [note for note in told.notes if isinstance(note, ProgressMade)]


def test_events_are_passed_on_as_they_are(host: Host, state: StateDatabase) -> None:
    told = sync(host, state, "well")

    (line,) = told.lines
    assert f'"record":{{"key":"{KEY}"}}'.encode() in line


def test_an_error_about_the_plugin_says_where_a_secret_stood(
    host: Host, state: StateDatabase
) -> None:
    denied = sync(host, state, "denied").error
    assert denied
    assert f"not with {MARK}" in denied.what
    assert f"the plugin says: try another than {MARK}" in denied.next


def test_the_last_words_of_a_crash_are_masked(host: Host, state: StateDatabase) -> None:
    crashed = sync(host, state, "crash").error
    assert isinstance(crashed, PluginCrashed)
    assert f"fatal: {MARK}" in crashed.why


def test_a_dead_letter_is_masked(host: Host, state: StateDatabase) -> None:
    (letter,) = [
        note for note in sync(host, state, "refused").notes if isinstance(note, DeadLetter)
    ]
    assert str(letter).startswith(f"event '{MARK}-'")


def test_the_answer_of_a_connection_test_is_masked(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> str:
        session = await open_session(plugin, SessionRequest(settings={"api_key": KEY}))
        answer = await plugin.connector.test_connection(await session.invocation())
        return str(answer)

    answer = host.run("tells", use)

    assert KEY not in answer
    assert answer.count(MARK) == 3


def test_a_value_that_was_referred_to_is_a_secret_and_any_other_is_not(
    host: Host, state: StateDatabase
) -> None:
    basic = base64.b64encode(f"ada-lovelace:{KEY}".encode()).decode()[:16]

    plain = said(host, sync(host, state, "well", account="ada-lovelace"))
    host.logs.clear()
    masked = said(host, sync(host, state, "well", account=Referenced("ada-lovelace")))

    assert (basic in plain, "[masked: account]" in plain) == (True, False)
    assert (basic in masked, "[masked: account]" in masked) == (False, True)
