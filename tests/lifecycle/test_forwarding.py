"""A sync into a destination: what arrives, what is tried again, what is kept, what is not lost."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.__main__ import main
from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.data.state import Slice, StateDatabase
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.running import delivering
from tests import captured
from tests.lifecycle.cli import Aperio, Done, finish, processes_of, wait_until
from tests.lifecycle.plugins import artifact_of, simulating
from tests.trust import IDENTITY

if TYPE_CHECKING:
    from aperio_cli.models.run_receipt import RunReceipt
    from tests.lifecycle.conftest import Workshop

MOODY = "acme/moody"


@dataclass
class Pair:
    """A connector and a destination that obeys a plan."""

    aperio: Aperio
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """What the destination has."""
        return self.aperio.folder / "delivered"

    def words(self, source: str, *more: str) -> list[str]:
        """The command."""
        plan = json.dumps({"out": str(self.out)} | self.plan)
        return ["plugin", "run", f"acme/{source}", "--to", MOODY, "--to-set", f"plan={plan}", *more]

    def sync(self, source: str, *more: str, status: int = 0) -> Done:
        """Sync into the destination, in lines of JSON."""
        return self.aperio(*self.words(source, *more), "--json", status=status)

    def delivered(self) -> list[str]:
        """Ids, in the service, of what the destination has."""
        lines = self.out.read_bytes().splitlines() if self.out.exists() else []
        return [json.loads(line)["source_event_id"] for line in lines]


@pytest.fixture(scope="module")
def stocked(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which simulators are installed; `moody` is the destination."""
    root = tmp_path_factory.mktemp("stocked")
    home = Path(shutil.copytree(workshop.home, root / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
        for name in ("bare", "crashes", "finds", "mortal", "moody"):
            stated = {"kind": "destination", "provider": "MOODY"} if name == "moody" else {}
            artifact = artifact_of(root / name, simulating(name), id=f"acme/{name}", **stated)
            for words in (["sign", artifact, "--trust", "local"], ["install", artifact, "--yes"]):
                assert main(["plugin", *map(str, words), "--home", str(home)]) == 0
    return home / "plugins"


@pytest.fixture
def pair(aperio: Aperio, stocked: Path) -> Pair:
    shutil.copytree(stocked, aperio.home / "plugins")
    return Pair(aperio)


def receipts(pair: Pair, name: str) -> tuple[RunReceipt, ...]:
    """Those of a plugin's runs, the newest first."""
    return RunReceipts(pair.aperio.home / "host" / "receipts").newest(PluginId("acme", name))


def test_events_go_to_the_destination_and_the_checkpoint_follows(pair: Pair) -> None:
    first = pair.sync("bare").lines
    assert [line["type"] for line in first] == ["checkpoint", "summary"]
    assert first[-1]["events"] == 2
    assert first[-1]["deliveries"] == {
        "to": "acme/moody@1.2.3", "accepted": 2, "rejected": 0, "repeated": 0, "not_taken": 0,
    }  # fmt: skip
    assert first[-1]["rejects_file"] is None
    second = pair.aperio(*pair.words("bare"))
    assert (second.out, pair.delivered()) == ("", ["e0", "e1", "e2", "e3"])
    assert "2 events, 1 checkpoint" in second.err
    assert "2 accepted, 0 rejected by acme/moody@1.2.3" in second.err
    assert not (pair.aperio.home / "rejects").exists()
    (sync, _), (delivery, _) = (receipts(pair, name) for name in ("bare", "moody"))
    assert (sync.operation, sync.status, sync.version) == ("sync", "SUCCEEDED", "1.2.3")
    assert (sync.seen, sync.sent, sync.tokens, sync.egress_refused) == (2, 2, 0, 0)
    with StateDatabase(pair.aperio.home / "state.db") as state:
        (owner,) = state.owners("acme/bare")
        stored = state.checkpoint(Slice(owner, "local", "local"))
    assert stored
    assert sync.checkpoint_sha256 == hashlib.sha256(stored.cursor).hexdigest()
    assert (delivery.operation, delivery.status) == ("deliver", "SUCCEEDED")
    assert (delivery.seen, delivery.sent, delivery.checkpoint_sha256) == (2, 2, "")


def test_what_has_to_be_tried_again_is_with_the_wait_that_was_asked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_FIRST_WAIT_S", 0.01)
    pair.plan = {
        "calls": ["UNAVAILABLE", "RESOURCE_EXHAUSTED:1", "ok"],
        "ids": {"e0": ["retry:0.25", "newer", "ok"], "e1": ["nothing", "ok"]},
    }
    lines = pair.sync("bare").lines
    retries = [(line["envelopes"], line["wait_s"]) for line in lines if line["type"] == "retry"]
    assert retries == [(2, 0.01), (2, 1.0), (2, 0.25), (1, 0.01)]
    assert set(lines[0]) == {"type", "envelopes", "wait_s", "reason"}
    assert "the service is down" in lines[0]["reason"]
    assert lines[-1]["deliveries"] | {"to": ""} == {
        "to": "", "accepted": 2, "rejected": 0, "repeated": 7, "not_taken": 0,
    }  # fmt: skip
    assert sorted(pair.delivered()) == ["e0", "e1"]


def test_what_a_destination_does_not_take_is_told_once_and_counted(pair: Pair) -> None:
    lines = pair.sync("finds").lines
    told = [line for line in lines if line["type"] == "not_taken"]
    assert told == [
        {"type": "not_taken", "kind": "finding", "to": "acme/moody@1.2.3"},
        {"type": "not_taken", "kind": "audit_log", "to": "acme/moody@1.2.3"},
    ]
    summary = lines[-1]
    counts = {name: summary[name] for name in ("events", "findings", "audit_log", "checkpoints")}
    assert counts == {"events": 3, "findings": 3, "audit_log": 2, "checkpoints": 2}
    assert summary["deliveries"]["accepted"] == 3
    assert summary["deliveries"]["not_taken"] == 5
    assert pair.delivered() == ["e0", "e1", "e2"]
    (sync,) = receipts(pair, "finds")
    assert (sync.seen, sync.sent, sync.filtered, sync.dead_letters) == (9, 3, 5, 1)
    done = pair.aperio(*pair.words("finds", "--full"))
    assert "acme/moody@1.2.3 takes no findings: they are counted and left out" in done.err
    assert "3 events, 3 findings, 2 audit log entries, 1 dead letter, 2 checkpoints" in done.err
    assert "3 accepted, 0 rejected, 5 not taken by acme/moody@1.2.3" in done.err


def test_what_is_rejected_is_kept_in_full_and_can_be_delivered_from_there(pair: Pair) -> None:
    pair.plan = {"ids": {"e1": ["reject"]}}
    summary = pair.sync("bare", status=1).lines[-1]
    assert summary["type"] == "summary"
    assert (summary["deliveries"]["rejected"], summary["checkpoints"]) == (1, 1)
    [kept] = (pair.aperio.home / "rejects").iterdir()
    assert summary["rejects_file"] == str(kept)
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    [line] = map(json.loads, kept.read_text().splitlines())
    assert line["rejected"] | {"at": ""} == {
        "at": "", "by": "acme/moody@1.2.3", "status": "rejected", "reason": "it is e1",
        "code": "mood",
    }  # fmt: skip
    assert line["envelope"]["record"] == {"n": 1}
    plan = json.dumps({"out": str(pair.out)})
    words = ("plugin", "run", MOODY, "deliver", "--set", f"plan={plan}", "--json")
    with kept.open("rb") as stdin:
        again = pair.aperio.start(*words, stdin=stdin)
    assert json.loads(finish(again).out)["data"]["accepted"] == 1
    assert pair.delivered() == ["e0", "e1"]


def test_a_destination_that_is_down_ends_it_with_4_and_nothing_is_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_FIRST_WAIT_S", 0.2)
    pair.plan = {"calls": ["UNAVAILABLE"] * 50}
    done = pair.sync("bare", "--retry-for", "1", status=4)
    *_, told, error = done.lines
    assert told == {
        "type": "deliveries", "to": "acme/moody@1.2.3", "accepted": 0, "rejected": 0,
        "repeated": told["repeated"], "not_taken": 0, "rejects_file": None,
    }  # fmt: skip
    assert set(error) == {
        "type", "code", "what", "why", "next", "exit_status", "retry_after_s",
    }  # fmt: skip
    assert (error["code"], error["exit_status"]) == ("destination-unavailable", 4)
    assert "the service is down" in error["why"]
    assert error["next"][-1] == "the plugin says: look at its log"
    pair.plan = {"calls": ["RESOURCE_EXHAUSTED:3600"]}
    error = pair.sync("bare", status=4).lines[-1]
    assert (error["code"], error["retry_after_s"]) == ("destination-unavailable", 3600)
    pair.plan = {}
    pair.sync("bare")
    assert pair.delivered() == ["e0", "e1"]


def test_a_crash_of_the_destination_loses_nothing_and_says_how_far_it_got(pair: Pair) -> None:
    pair.plan = {"ids": {"e0": ["retry:0.01"]}, "calls": ["ok", "crash"]}
    done = pair.aperio(*pair.words("bare"), status=5)
    assert "before that: 1 accepted, 0 rejected by acme/moody@1.2.3" in done.err
    assert "error: `acme/moody` 1.2.3" in done.err
    assert "plugin-crashed (exit 5)" in done.err
    pair.plan = {}
    pair.sync("bare")
    assert pair.delivered() == ["e1", "e0", "e1"]


def test_a_crash_of_the_connector_keeps_what_was_accepted_before_it(pair: Pair) -> None:
    lines = pair.sync("crashes", status=5).lines
    types = [line["type"] for line in lines if line["type"] != "progress"]
    assert types == ["checkpoint", "deliveries", "error"]
    assert lines[-1]["code"] == "plugin-crashed"
    assert pair.delivered() == ["e0", "e1"]
    (sync,) = receipts(pair, "crashes")
    assert (sync.status, sync.code, sync.sent) == ("FAILED", "plugin-crashed", 2)
    assert "acme/crashes" in sync.error_message


def test_a_dead_letter_is_one_line_and_counted_and_a_strict_sync_stops_there(pair: Pair) -> None:
    done = pair.aperio("plugin", "run", "acme/mortal")
    assert [line["envelope"]["source_event_id"] for line in done.lines] == ["e0", "e2"]
    assert "dead letter: event 'e1' (box.login): expected record_json: " in done.err
    assert "\ndead letter: entry 7: no entry\n" in done.err
    assert "2 events, 2 dead letters, 1 checkpoint" in done.err
    done = pair.aperio("plugin", "run", "acme/mortal", "--strict", status=5)
    assert "  code  event-not-passed-on (exit 5)\n" in done.err


def test_dead_letters_are_kept_too_and_a_file_that_was_named_grows_by_whole_lines(
    pair: Pair,
) -> None:
    kept = pair.aperio.folder / "kept"
    kept.write_bytes(b'{"type": "torn')
    summary = pair.sync("mortal", "--rejects", str(kept)).lines[-1]
    assert (summary["events"], summary["dead_letters"]) == (2, 2)
    assert summary["rejects_file"] == str(kept)
    torn, *lines = kept.read_text().splitlines()
    assert torn == '{"type": "torn'
    assert [json.loads(line)["type"] for line in lines] == ["dead_letter", "dead_letter"]
    assert pair.delivered() == ["e0", "e2"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, 137)]
)
def test_an_interruption_while_it_waits_loses_nothing(
    pair: Pair, number: signal.Signals, status: int
) -> None:
    pair.plan = {"ids": {"e0": ["retry:250"]}}
    run = pair.aperio.start(*pair.words("bare"), stdin=subprocess.DEVNULL)
    assert run.stderr
    assert any(b"again in 250 s: it is e0" in line for line in iter(run.stderr.readline, b""))
    run.send_signal(number)
    done = finish(run)
    assert done.status == status
    if number == signal.SIGKILL:  # nobody was left to say anything, or to remove a folder
        assert wait_until(lambda: not processes_of(pair.aperio.runtime), within_s=30)
        for folder in pair.aperio.runtime.iterdir():
            shutil.rmtree(folder)
    else:
        assert "before that: 1 accepted, 0 rejected" in done.err
        pair.aperio.assert_nothing_left()
    pair.plan = {}
    pair.sync("bare")
    assert pair.delivered() == ["e1", "e0", "e1"]


def test_a_delivery_keeps_lines_and_rejects_in_a_file_and_tries_again_when_asked_to(
    pair: Pair,
) -> None:
    kept = pair.aperio.folder / "kept"
    plan = {"out": str(pair.out), "ids": {"a": ["retry:0.01"], "b": ["reject"]}}
    envelope = (
        '{{"id": "{0}", "organization_id": "local", "kind": "event", "source_event_id": "{0}",'
        ' "record": {{}}}}\n'
    )
    given = "".join([*(envelope.format(name) for name in "abc"), "no envelope\n", "\N{EM DASH}\n"])
    words = ("plugin", "run", MOODY, "--set", f"plan={json.dumps(plan)}", "--rejects", kept)
    run = pair.aperio.start(*words, "--retry-for", "5", "--json", stdin=subprocess.PIPE)
    out, err = run.communicate(given.encode() + b"\xff\n", timeout=60)
    assert b"1 envelopes again in 0.1 s: it is a" in err  # and not as soon as it asks for
    data = json.loads(out)["data"]
    assert (data["accepted"], data["rejected"], data["retry"]) == (2, 4, 0)
    assert data["rejects_file"] == str(kept)
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert sorted(line["type"] for line in lines) == ["event", *["rejected_line"] * 3]
    assert {line.get("text") or line.get("base64") for line in lines if "text" in line
            or "base64" in line} == {"no envelope", "\N{EM DASH}", "/w=="}  # fmt: skip


def deliver_to(pair: Pair, *more: str, given: str, status: int = 0, **plan: Any) -> dict[str, Any]:
    """What `deliver` says of lines."""
    stated = f"plan={json.dumps({'out': str(pair.out)} | plan)}"
    words = ("plugin", "run", MOODY, "deliver", "--set", stated, *more, "--json")
    run = pair.aperio.start(*words, stdin=subprocess.PIPE)
    out, err = run.communicate(given.encode(), timeout=60)
    assert run.returncode == status, err
    data: dict[str, Any] = json.loads(out)["data"]
    return data


def test_the_products_envelopes_are_handed_over_byte_for_byte_under_their_keys(pair: Pair) -> None:
    given = "".join(f"{line}\n" for line in captured.ALL)
    of = ("--org", captured.ORGANIZATION, "--integration", captured.DESTINATION)
    rejected = {key: ["reject"] for key in captured.KEYS[1:]}

    data = deliver_to(pair, *of, given=given, status=1, ids=rejected)

    assert pair.out.read_text() == captured.ALL[0] + "\n"
    assert [each["id"] for each in data["reasons"]] == list(captured.KEYS[1:])
    assert [each["line"] for each in data["reasons"]] == [2, 3, 4, 5]
    deliver_to(pair, *of, given=given)
    assert pair.out.read_text() == captured.ALL[0] + "\n" + given


def test_another_organizations_envelopes_are_refused_and_go_to_their_own(pair: Pair) -> None:
    kept, own = pair.aperio.folder / "kept", captured.EVENT.replace('"org_1"', '"local"')
    foreign = [captured.finding(), captured.EVENT, captured.EVENT.replace('"org_1"', '"LOCAL"')]
    given = "\n".join([foreign[0], own, *foreign[1:]])

    data = deliver_to(pair, "--rejects", str(kept), given=given, status=1)

    assert (data["accepted"], data["rejected"]) == (1, 3)
    assert [(each["code"], each["line"]) for each in data["reasons"]] == [
        ("organization-foreign", 1), ("organization-foreign", 3), ("organization-foreign", 4),
    ]  # fmt: skip
    assert "it is of the organization `org_1`, the call is for `local`" in str(data["reasons"])
    assert pair.out.read_text() == own + "\n"
    lines = kept.read_text().splitlines()
    assert [json.loads(line)["rejected"]["by"] for line in lines] == ["aperio"] * 3
    data = deliver_to(pair, "--org", "org_1", given="\n".join(lines[:2]))
    assert data["accepted"] == 2
    assert pair.out.read_text().splitlines() == [own, *foreign[:2]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["sync", "--to", "acme/bare"], "`acme/bare` takes no events"),
        (["schema", "--to", MOODY], "`--to` goes with `sync` only"),
        (["sync", "--to-set", "plan=x"], "`--to-set` is about a delivery"),
        (["sync", "--rejects", "kept"], "`--rejects` is about a delivery"),
        (["sync", "--retry-for", "5"], "`--retry-for` is about a delivery"),
        (["sync", "--to", MOODY], "`plan` of `acme/moody` 1.2.3 is not configured well"),
        (["sync", "--to", MOODY, "--to-set", "plan"], "`--to-set plan` was not understood"),
    ],
)
def test_what_cannot_be_delivered_is_said_before_anything_is_read(
    pair: Pair, more: list[str], said: str
) -> None:
    done = pair.aperio("plugin", "run", "acme/bare", *more, status=2)
    assert said in done.err
    assert "`--set" not in done.err
    assert pair.delivered() == []


def test_a_file_that_cannot_keep_rejects_is_refused_before_anything_is_read(pair: Pair) -> None:
    folder = pair.aperio.folder / "folder"
    folder.mkdir()
    done = pair.aperio(*pair.words("bare", "--rejects", str(folder)), status=1)
    assert f"`{folder}` cannot keep what is rejected" in done.err
    assert pair.delivered() == []
