"""What a word names: a path that is there, an artifact's address, or a plugin's id."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.artifact import BUNDLE_SUFFIX
from tests.builders import PLUGIN, write_artifact
from tests.lifecycle.plugins import project_of, simulating
from tests.simulators.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

BOX = "box-connector_1.2.3_linux_amd64.tar.gz"
SECRET = "hunter2"
ADD = ("trust", "publisher", "add")


@pytest.fixture
def signed(aperio: Aperio) -> Path:
    """A signed artifact in dist, of the working folder."""
    path = write_artifact(aperio.folder / "dist")
    assert path.name == BOX
    aperio("plugin", "sign", "dist", "--trust", "local")
    return path


@pytest.fixture
def guarded(signed: Path) -> Iterator[Guarded]:
    """A server of dist that wants a password and a token."""
    with Guarded(signed.parent).running() as server:
        yield server


@pytest.mark.parametrize(
    "named", ["dist/{}", "./dist/{}", "{folder}/dist/{}", "file://{folder}/dist/{}"]
)
def test_install_takes_a_path_in_every_form(aperio: Aperio, signed: Path, named: str) -> None:
    word = named.format(BOX, folder=aperio.folder)
    (installed,) = aperio("plugin", "install", word, "--json").data["installed"]
    assert (installed["id"], installed["version"]) == (PLUGIN, "1.2.3")
    assert aperio("plugin", "why", PLUGIN, "--json").data["source"] == str(signed)


def test_verify_takes_whatever_file_is_there(aperio: Aperio, signed: Path) -> None:
    for suffix in ("", BUNDLE_SUFFIX):
        shutil.copy(f"{signed}{suffix}", aperio.folder / f"artifact{suffix}")
    assert aperio("plugin", "verify", "artifact", "--json").data["id"] == PLUGIN
    refused = aperio.refuses("plugin", "verify", "artefact", code="plugin-id-invalid", status=2)
    assert "neither a plugin id nor a path" in refused.what


@pytest.mark.usefixtures("signed")
def test_install_of_a_folder_names_what_is_in_it(aperio: Aperio) -> None:
    for word in ("dist", "."):
        refused = aperio.refuses("plugin", "install", word, code="not-found", status=1)
        assert f"dist/{BOX}" in refused.next[0]
    (aperio.folder / "empty").mkdir()
    refused = aperio.refuses("plugin", "install", "empty", code="not-found", status=1)
    assert "`aperio plugin build` makes one of a project" in refused.next


def test_a_user_that_is_not_there_is_a_part_of_the_path(aperio: Aperio) -> None:
    refused = aperio.refuses("plugin", "verify", f"~nobody-here/{BOX}", code="not-found", status=1)
    assert refused.what.startswith(f"`~nobody-here/{BOX}`")


@pytest.mark.parametrize("word", ["acme/box-connector", "project", "./acme/box-connector"])
def test_a_project_is_run_by_the_path_of_its_folder(aperio: Aperio, word: str) -> None:
    project_of(aperio.folder / word, simulating("drips"))
    shown = aperio("plugin", "run", word, "schema")
    assert "development" in shown.err


def test_what_is_installed_counts_before_a_folder_of_that_name(
    aperio: Aperio, signed: Path
) -> None:
    aperio("plugin", "install", signed)
    project_of(aperio.folder / PLUGIN, simulating("drips"))
    assert aperio("plugin", "why", PLUGIN, "--json").data["version"] == "1.2.3"
    # The artifact's program is none, so it is what was started.
    done = aperio.type("plugin", "run", PLUGIN, "schema")
    assert (done.status, "development" in done.err) == (5, False)


# ── an address ────────────────────────────────────────────────────────────────────────────────────


def test_install_fetches_an_address_and_keeps_nothing_secret_of_it(
    aperio: Aperio, guarded: Guarded
) -> None:
    url = guarded.url(BOX)
    said = [aperio("plugin", "verify", url), aperio("plugin", "install", url)]
    assert guarded.paths[:3] == [
        f"/{BOX}{suffix}?token={SECRET}" for suffix in ("", BUNDLE_SUFFIX, ".intoto.jsonl")
    ]
    why = aperio("plugin", "why", PLUGIN, "--json")
    assert why.data["source"] == guarded.shown(BOX)
    kept = [path.read_bytes() for path in aperio.home.rglob("*") if path.is_file()]
    shown = "".join(done.out + done.err for done in (*said, why))
    assert SECRET.encode() not in b"".join(kept) + shown.encode()


def test_an_address_is_judged_as_a_file_is(aperio: Aperio, guarded: Guarded, signed: Path) -> None:
    signed.with_name(BOX + BUNDLE_SUFFIX).write_bytes(b"{}")
    url = guarded.url(BOX)
    by_file = aperio.refuses("plugin", "install", signed, code="bundle-malformed", status=3)
    by_address = aperio.refuses("plugin", "install", url, code="bundle-malformed", status=3)
    assert by_file.why == by_address.why
    assert SECRET not in by_address.shown


def test_an_address_without_a_signature_is_refused_whatever_is_allowed(
    aperio: Aperio, guarded: Guarded, signed: Path
) -> None:
    signed.with_name(BOX + BUNDLE_SUFFIX).unlink()
    url = guarded.url(BOX)
    refused = aperio.refuses("plugin", "install", url, code="signature-missing", status=3)
    assert guarded.shown(BOX) in refused.why
    assert SECRET not in refused.shown
    allowed = ("--allow-unsigned", "--until", "2999-01-01", "--reason", "a test")
    aperio.refuses("plugin", "install", url, *allowed, code="usage", status=2)


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("plugin", "install", "{url}", "--offline"), "offline", 4),
        (("plugin", "install", "{none}"), "not-found-at-source", 4),
        (("plugin", "install", "https://user:hunter2@registry.example/box.zip"), "not-found", 1),
        (("plugin", "install", "ftp://user:hunter2@127.0.0.1/x.tar.gz"), "insecure-url", 3),
        (("plugin", "run", "{url}"), "usage", 2),
        (("plugin", "why", "{url}"), "usage", 2),
        (("plugin", "sign", "{url}", "--trust", "local"), "not-found", 1),
        ((*ADD, "other", "--from-bundle", "{url}"), "manifest-mismatch", 3),
        ((*ADD, "acme", "--from-bundle", "{none}"), "not-found-at-source", 4),
    ],
)  # fmt: skip
def test_no_refusal_of_an_address_shows_what_is_secret_in_it(
    aperio: Aperio, guarded: Guarded, words: tuple[str, ...], code: str, status: int
) -> None:
    typed = [word.format(url=guarded.url(BOX), none=guarded.url("none.tar.gz")) for word in words]
    done = aperio.type(*typed, "--json")
    [error] = done.document["errors"]
    assert (error["code"], done.status) == (code, status), error
    assert SECRET not in json.dumps(error) + done.err


def test_a_rule_is_proposed_for_the_signer_at_an_address(aperio: Aperio, guarded: Guarded) -> None:
    done = aperio(*ADD, "acme", "--from-bundle", guarded.url(BOX), "--yes", "--json")
    assert done.data["rule"]["namespace"] == "acme"
    assert SECRET not in done.out + done.err


def test_a_plugin_is_tested_at_its_address(aperio: Aperio, guarded: Guarded) -> None:
    # Its program is none, so checks fail: that it got as far is what is asked here.
    data = aperio("plugin", "test", guarded.url(BOX), "--json", status=1).data
    verdicts = {verdict["key"]: verdict for verdict in data["verdicts"]}
    assert "the system cannot execute it" in verdicts["by-hand"]["evidence"]
    assert not (aperio.home / "plugins").exists()
