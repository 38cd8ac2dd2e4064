"""The record of an installed plugin, damaged, older or newer, in every command that reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import snapshot
from tests.lifecycle.plugins import PLUGIN, artifact_of, sdk_program
from tests.rows import for_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

_CODE = sdk_program("destination")
_STATED = {"kind": "destination", "provider": "STUB"}
STARTS = {
    "run": ["plugin", "run", PLUGIN, "capabilities"],
    "why": ["plugin", "why", PLUGIN],
    "test": ["plugin", "test", PLUGIN],
}
"""Every command that would say of an installed plugin that it may run."""

# What may follow whom can still be read in these.
REPAIRED: dict[str, Callable[[dict[str, Any]], object]] = {
    "an empty manifest": lambda record: record.update(manifest={}),
    "a manifest without permissions of its kind": lambda record: record["manifest"].update(
        permissions=["api.box.com:443"]
    ),
    "a manifest that is text": lambda record: record.update(manifest="1.2.3"),
    "another kind": lambda record: record.update(kind="connector"),
    "no interpreter": lambda record: record.update(interpreter={}),
    "no place of origin": lambda record: record.pop("source"),
    "exceptions that are none": lambda record: record.update(exceptions=[5]),
}
# In these it cannot.
LOST: dict[str, Callable[[dict[str, Any]], object]] = {
    "nobody who signed": lambda record: record.update(signer=None),
    "a signer without a name": lambda record: record["signer"].pop("identity"),
    "no rule": lambda record: record.update(rule=None),
    "attestations that are none": lambda record: record["proof"].update(attestations=5),
    "no digest": lambda record: record.update(artifact_sha256=None),
    "nothing": lambda record: record.clear(),
}


@pytest.fixture
def artifact(aperio: Aperio, states: Path) -> Path:
    """A signed artifact, which is installed."""
    aperio.begins_after(install_the_one, states)
    (made,) = (aperio.folder / "dist").glob("*.tar.gz")
    return made


def install_the_one(aperio: Aperio) -> Path:
    made = signed(aperio, "1.2.3")
    aperio("plugin", "install", made)
    return made


def signed(aperio: Aperio, version: str) -> Path:
    made = artifact_of(aperio.folder / "dist", _CODE, version=version, **_STATED)
    aperio("plugin", "sign", made, "--trust", "local")
    return made


def record_of(aperio: Aperio) -> Path:
    return aperio.home / "plugins" / PLUGIN / "1.2.3" / "receipt.json"


def change(aperio: Aperio, damage: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(record_of(aperio).read_bytes())
    damage(record)
    record_of(aperio).write_text(json.dumps(record))


def newer(record: dict[str, Any]) -> None:
    record.update(schema="aperio.receipt/v2", manifest={"of": "later"})


def test_a_whole_record_starts(aperio: Aperio, artifact: Path) -> None:
    for words in STARTS.values():
        aperio(*words)
    assert aperio("plugin", "install", artifact, "--json").data["installed"][0]["was_installed"]
    aperio("plugin", "list", "--check")


@pytest.mark.parametrize("damage", REPAIRED | LOST)
def test_a_damaged_record_starts_nothing_and_is_named(
    aperio: Aperio, artifact: Path, damage: str
) -> None:
    change(aperio, (REPAIRED | LOST)[damage])
    before = snapshot(record_of(aperio))
    for words in STARTS.values():
        told = aperio.refuses(*words, code="receipt-invalid", status=3)
        assert str(record_of(aperio)) in told.what
        assert told.why
        assert told.next == ("remove the plugin and install it again",)
    [row] = aperio("plugin", "list", "--json").data["plugins"]
    assert (row["id"], row["version"]) == (PLUGIN, "1.2.3")
    done = aperio("plugin", "list", "--check", "--json", status=3)
    assert [row["problem"] for row in done.data["plugins"]] == ["receipt-invalid"]
    assert "receipt.json" in done.err
    aperio("registry", "init", "published")
    aperio("registry", "add", artifact, "--dir", "published")
    assert snapshot(record_of(aperio)) == before
    aperio("plugin", "remove", PLUGIN)
    assert aperio("plugin", "list", "--json").data["plugins"] == []


def test_the_same_artifact_repairs_a_damaged_record(aperio: Aperio) -> None:
    artifact = install_the_one(aperio)  # here: a record names the place that it came from
    before = record_of(aperio).read_bytes()

    @for_each(REPAIRED)
    def check(damage: str) -> None:
        change(aperio, REPAIRED[damage])
        assert "receipt-invalid" not in aperio("plugin", "verify", artifact).out
        assert "1.2.3 was damaged, and is repaired" in aperio("plugin", "install", artifact).out
        assert without_time(record_of(aperio).read_bytes()) == without_time(before)

    check()
    aperio(*STARTS["run"])
    assert "1.2.3 was installed already" in aperio("plugin", "install", artifact).out


def without_time(record: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(record)
    del document["installed_at"]
    return document


def test_a_record_that_says_not_who_signed_is_not_replaced_in_silence(
    aperio: Aperio, artifact: Path
) -> None:
    later = signed(aperio, "2.0.0")

    @for_each(LOST)
    def check(damage: str) -> None:
        change(aperio, LOST[damage])
        for command in ("verify", "install"):
            told = aperio.refuses("plugin", command, artifact, code="receipt-invalid", status=3)
            assert told.next == ("remove the plugin and install it again",)
        aperio.refuses("plugin", "install", later, code="receipt-invalid", status=3)
        aperio("plugin", "remove", PLUGIN)
        aperio("plugin", "install", artifact)

    check()
    aperio(*STARTS["run"])


def test_another_artifact_does_not_repair_a_damaged_record(aperio: Aperio, artifact: Path) -> None:
    change(aperio, REPAIRED["an empty manifest"])
    other = artifact_of(aperio.folder / "other", f"{_CODE}\n", **_STATED)
    aperio("plugin", "sign", other, "--trust", "local")
    assert other.name == artifact.name
    aperio.refuses("plugin", "install", other, code="version-changed", status=3)


@pytest.mark.usefixtures("artifact")
@pytest.mark.parametrize("odd", ["text", 5, [1], True, {"at": 5, "ok": "yes"}])
def test_a_row_and_a_screen_are_shown_whatever_stands_for_a_check(
    aperio: Aperio, odd: object
) -> None:
    checks = aperio.home / "checks" / f"{PLUGIN}.json"
    checks.parent.mkdir(parents=True, exist_ok=True)
    checks.write_text(json.dumps({"1.2.3": odd, "1.0.0": odd}))
    assert aperio("plugin", "why", PLUGIN, "--json").data["last_check"] is None
    assert "never" in aperio("plugin", "why", PLUGIN).out
    [row] = aperio("plugin", "list", "--json").data["plugins"]
    assert row["last_check"] is None
    assert PLUGIN in aperio("plugin", "list").out
    aperio(*STARTS["run"])
    assert aperio("plugin", "why", PLUGIN, "--json").data["last_check"]["ok"]
    assert aperio("plugin", "list", "--json").data["plugins"][0]["last_check"]["ok"]


@pytest.mark.usefixtures("artifact")
@pytest.mark.parametrize("odd", ["text", 5, [1], True])
def test_list_shows_a_row_whatever_stands_for_evidence(aperio: Aperio, odd: object) -> None:
    change(aperio, lambda record: record.update(exception=odd, signer=odd))
    [row] = aperio("plugin", "list", "--json").data["plugins"]
    assert (row["exceptions"], row["signer"]) == ([], None)
    assert PLUGIN in aperio("plugin", "list").out


def test_a_folder_without_a_record_is_one_thing_to_every_command(
    aperio: Aperio, artifact: Path
) -> None:
    record_of(aperio).unlink()
    for words in STARTS.values():
        for name in (PLUGIN, f"{PLUGIN}@1.2.3"):
            typed = [name if word == PLUGIN else word for word in words]
            told = aperio.refuses(*typed, code="not-installed", status=1)
            assert told.what == f"`{name}` is not installed"
            assert told.why == "what is left of 1.2.3 has no record, so nothing of it is run"
            assert told.next == (f"`aperio plugin install {name}`",)
    assert aperio("plugin", "list", "--json").data["plugins"] == []
    done = aperio("plugin", "install", artifact)
    assert "1.2.3 was damaged, and is repaired" in done.out
    aperio(*STARTS["run"])
    record_of(aperio).unlink()
    assert aperio("plugin", "remove", PLUGIN).out == f"removed `{PLUGIN}` 1.2.3\n"
    assert not record_of(aperio).parent.exists()
    assert "1.2.3 installed (signed by" in aperio("plugin", "install", artifact).out


def test_a_repair_takes_back_the_check_that_failed(aperio: Aperio, artifact: Path) -> None:
    aperio(*STARTS["run"])
    script = record_of(aperio).parent / "files/bin/box-connector.py"
    script.write_bytes(script.read_bytes() + b"#")
    aperio(*STARTS["run"], status=3)
    assert "FAILED" in aperio("plugin", "list").out
    [report] = aperio("plugin", "install", artifact, "--json").data["installed"]
    assert (report["repaired"], report["was_installed"]) == (True, False)
    [row] = aperio("plugin", "list", "--json").data["plugins"]
    assert (row["last_check"], row["problem"]) == (None, None)
    aperio(*STARTS["run"])
    assert aperio("plugin", "list", "--json").data["plugins"][0]["last_check"]["ok"]


def test_a_version_that_is_removed_takes_its_check_with_it(aperio: Aperio, artifact: Path) -> None:
    aperio(*STARTS["run"])
    later = signed(aperio, "2.0.0")
    aperio("plugin", "install", later)
    aperio("plugin", "remove", f"{PLUGIN}@1.2.3")
    aperio("plugin", "install", artifact)
    assert [row["last_check"] for row in aperio("plugin", "list", "--json").data["plugins"]] == [
        None,
        None,
    ]


# ── of another release ────────────────────────────────────────────────────────────────────────────


def test_the_record_of_an_earlier_release_starts_installs_and_explains(
    aperio: Aperio, artifact: Path
) -> None:
    def earlier(record: dict[str, Any]) -> None:
        for key in ("proof", "exceptions", "index_serial"):
            del record[key]
        for key in ("homepage", "source", "limits", "state", "scopes", "permissions"):
            del record["manifest"][key]
        record["of_later"] = {"of": "later"}

    change(aperio, earlier)
    for words in STARTS.values():
        aperio(*words)
    assert "trusted root" not in aperio(*STARTS["why"]).out
    aperio("plugin", "list", "--check")
    [report] = aperio("plugin", "install", artifact, "--json").data["installed"]
    assert not report["was_installed"]  # the attestations are worth having
    assert "trusted root" in aperio(*STARTS["why"]).out


def test_a_record_of_a_newer_aperio_is_left_as_it_is(aperio: Aperio, artifact: Path) -> None:
    change(aperio, newer)
    later = signed(aperio, "2.0.0")
    asks = [
        ["plugin", word, str(path)] for word in ("verify", "install") for path in (artifact, later)
    ]
    for words in [*STARTS.values(), *asks]:
        told = aperio.refuses(*words, code="receipt-newer", status=3)
        assert "a newer aperio made it" in told.why
        assert told.next == ("use that aperio, or a newer one",)
    listed = aperio("plugin", "list", "--json")
    checked = aperio("plugin", "list", "--json", "--check", status=3)
    for done in (listed, checked):
        assert [row["problem"] for row in done.data["plugins"]] == ["receipt-newer"]
