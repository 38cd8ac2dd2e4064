"""Permissions are granted, not claimed: at installation, by `plugin grant`, and by an update."""

from __future__ import annotations

import dataclasses
import os
import pty
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.host.sandbox.choosing import choose_sandbox
from tests.lifecycle.hello_api import KEY, HelloApi
from tests.lifecycle.plugins import artifact_of, simulating
from tests.rows import for_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

ID = "acme/mortal"
EGRESS = {"egress": ["api.box.com:443", "*.boxcloud.com:443"]}


@pytest.fixture
def unsure(aperio: Aperio) -> Aperio:
    """An operator who types no `--yes`."""
    return dataclasses.replace(aperio, agrees=False)


def signed(aperio: Aperio, version: str, **declared: object) -> Path:
    folder = aperio.folder / version
    artifact = artifact_of(folder, simulating("mortal"), id=ID, version=version, **declared)
    aperio("plugin", "sign", artifact, "--trust", "local")
    return artifact


def test_nothing_is_installed_without_consent(unsure: Aperio) -> None:
    artifact = signed(unsure, "1.0.0", permissions=EGRESS)
    refused = unsure.refuses("plugin", "install", artifact, code="consent-missing", status=1)
    assert "nobody agreed to what it asks for" in refused.what
    assert refused.next == ("add `--yes` to consent",)
    done = unsure("plugin", "install", artifact, "--yes")
    assert "  egress  api.box.com:443 *.boxcloud.com:443\n" in done.err
    assert "  limits  memory 256MiB, cpu 0.5, " in done.err


def test_what_asks_for_nothing_needs_no_consent(unsure: Aperio) -> None:
    unsure("plugin", "install", signed(unsure, "1.0.0", permissions={}, scopes=[], limits={}))


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 1)])
def test_a_terminal_is_asked(unsure: Aperio, answer: bytes, status: int) -> None:
    artifact = signed(unsure, "1.0.0", permissions=EGRESS)
    ours, terminal = pty.openpty()
    try:
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
        process = unsure.start("plugin", "install", artifact, **streams)
        os.write(ours, answer)
        process.wait(60)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(terminal)
    assert process.returncode == status
    assert "grant it all and install? [y/N]" in shown


def test_an_update_that_asks_for_more_shows_the_difference_and_needs_consent(
    unsure: Aperio,
) -> None:
    unsure("plugin", "install", signed(unsure, "1.0.0", permissions=EGRESS), "--yes")
    unsure("plugin", "install", signed(unsure, "1.1.0", permissions=EGRESS))  # as much as before
    more = {"egress": [*EGRESS["egress"], "evil.io:443"]}
    greedy = signed(unsure, "2.0.0", permissions=more, limits={"memory": "1GiB"})
    refused = unsure.refuses("plugin", "install", greedy, code="consent-missing", status=1)
    assert "beyond what 1.1.0 is granted:\n  egress  evil.io:443\n" in refused.shown
    assert "  limit   memory 1GiB, up from 256MiB\n" in refused.shown
    unsure("plugin", "install", greedy, "--yes")
    data = unsure("plugin", "grant", ID, "--json").data
    assert data["grant"]["permissions"]["egress"] == more["egress"]
    assert data["grant"]["limits"]["memory"] == "1GiB"


@pytest.fixture
def installed(unsure: Aperio) -> Aperio:
    artifact = signed(unsure, "1.0.0", permissions=EGRESS, limits={"processes": "32"})
    unsure("plugin", "install", artifact, "--yes")
    return unsure


def test_grant_narrows_widens_and_is_kept(installed: Aperio) -> None:
    words = ("plugin", "grant", ID)
    shown = installed(*words, "--egress", "EU.boxcloud.com:443", "--limit", "processes=128").out
    assert "  egress  eu.boxcloud.com:443\n" in shown
    assert "processes 128" in shown
    assert "  not granted: egress  api.box.com:443\n" in shown
    installed(*words, "--own", "10.0.0.7:514", "--any-protocol")
    data = installed(*words, "--json").data
    assert data["changed"] is False
    assert data["grant"]["permissions"]["egress"] == ["eu.boxcloud.com:443"]
    assert data["grant"]["own"] == [{"rule": "10.0.0.7:514", "any_protocol": True}]
    assert data["asked"]["permissions"]["egress"] == EGRESS["egress"]
    installed("plugin", "install", signed(installed, "1.1.0", permissions=EGRESS))
    after = installed(*words, "--json").data["grant"]
    assert after["permissions"]["egress"] == ["eu.boxcloud.com:443"]
    assert (after["limits"]["processes"], after["own"]) == (128, data["grant"]["own"])
    back = installed(*words, "--as-asked", "--json").data
    assert back["grant"] == back["asked"] | {"own": []}
    none = installed(*words, "--no-egress", "--json").data["grant"]["permissions"]
    assert none["egress"] == []


REFUSED = [
    (("--egress", "evil.io:443"), "permission-not-asked", 2, "it asks for api.box.com:443"),
    (("--egress", "api.box.com:80"), "permission-not-asked", 2, "it asks for api.box.com:443"),
    (("--egress", "nonsense"), "permission-not-asked", 2, "`--own nonsense:443`"),
    (("--limit", "processes=8"), "limit-too-low", 2, "expected at least 32, received 8"),
    (("--limit", "memory=1GiB", "--limit", "memory=2GiB"), "usage", 2, "each limit once"),
    (("--limit", "memory=1MiB"), "limit-too-low", 2, "memory: expected at least"),
    (("--limit", "memory=lots"), "usage", 2, "expected a whole number of KiB, MiB or GiB"),
    (("--limit", "colour=red"), "usage", 2, "expected memory, cpu, processes"),
    (("--limit", "memory"), "usage", 2, "expected NAME=VALUE"),
    (("--own", "127.1:80"), "usage", 2, "Expected 4 octets"),
    (("--any-protocol",), "usage", 2, ""),
    (("--no-egress", "--egress", "api.box.com:443"), "usage", 2, ""),
]
"""What is typed of a grant, the error, its status, and what that says."""


def test_a_grant_that_cannot_be_is_refused_and_nothing_changes(installed: Aperio) -> None:
    @for_rows(REFUSED)
    def check(words: tuple[str, ...], code: str, status: int, said: str) -> None:
        refused = installed.refuses("plugin", "grant", ID, *words, code=code, status=status)
        assert said in " ".join([refused.why, *refused.next])

    check()


def test_of_what_is_not_installed_nothing_is_granted(unsure: Aperio) -> None:
    unsure.refuses("plugin", "grant", "acme/other", code="not-installed", status=1)


# ── learning ──────────────────────────────────────────────────────────────────────────────────────


def test_without_a_sandbox_nothing_can_be_learned(installed: Aperio) -> None:
    refused = installed.refuses("plugin", "run", ID, "schema", "--learn", code="usage", status=2)
    assert "plugins are not confined here" in refused.what


def test_what_a_run_needed_is_proposed_for_the_manifest(
    unsure: Aperio, whole_hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    if choose_sandbox().name == "none":
        pytest.skip("no sandbox here")
    [artifact] = (whole_hello / "dist").glob("*.tar.gz")
    unsure("plugin", "install", artifact, "--yes")
    run = ("plugin", "run", "acme/hello-connector", "schema")
    shown = unsure(*run, "--learn").err
    assert "egress is only reported" in shown
    assert "for manifest.yaml:\npermissions:\n  egress: []  # it connected to nothing\n" in shown
    assert "# api.example.com:443: asked for, and not used" in shown
    assert "reported" not in unsure(*run).err  # as ever, without it


def test_a_stub_that_the_settings_name_is_reached_in_the_sandbox_and_no_other_is(
    unsure: Aperio, whole_hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    if choose_sandbox().name == "none":
        pytest.skip("no sandbox here")
    [artifact] = (whole_hello / "dist").glob("*.tar.gz")
    unsure("plugin", "install", artifact, "--yes")
    run = ("plugin", "run", "acme/hello-connector")
    with HelloApi(3) as api:
        key = ("--set", f"api_key={KEY}")
        done = unsure(*run, "sync", "--set", f"base_url={api.url}", *key, "--verbose")
        assert len(done.lines) == 3
        assert '"verdict": "allowed"' in done.err
        assert '"rule": "127.0.0.1:' in done.err
        away = unsure.type(*run, "test", "--set", "base_url=https://elsewhere.test", *key)
    assert "egress refused: elsewhere.test:443: no rule covers this host and port" in away.err
    assert "`aperio plugin grant acme/hello-connector --own elsewhere.test:443`" in away.err
