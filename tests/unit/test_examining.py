"""What is found on a machine where much is broken: all of it, each part with its remedy."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aperio_cli import clock
from aperio_cli.__main__ import main
from aperio_cli.config import load_readable, places
from aperio_cli.data.state import StateDatabase
from aperio_cli.examining import Examination, examine
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.machine.interpreters import find_interpreters
from aperio_cli.paths import Paths, find_paths
from aperio_cli.signing.local import create_domain
from aperio_cli.store.current import Current
from tests.builders import nest, registry_folder, unchanged

BROKEN = "[publishers"
RULE = '[[publishers]]\nnamespace = "acme"\ndomain = "public"\nidentity = "a@b.example"\n'
OURS = RULE.replace("public", "ours") + 'issuer = "https://b.example"\n'
INTERPRETERS = "[python]\ninterpreters = []\n"


@pytest.fixture
def paths(aperio_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Paths:
    aperio_home.mkdir(mode=0o700)
    monkeypatch.setattr(places, "site_config_file", lambda: tmp_path / "site.toml")
    monkeypatch.setattr("aperio_cli.examining.find_interpreters", lambda _: [])
    return find_paths({}, home=str(aperio_home))


def codes(found: Examination) -> list[str]:
    for finding in found.findings:
        assert finding.next, finding
    return [finding.code for finding in found.findings]


def test_nothing_is_wrong_on_a_machine_where_nothing_is(paths: Paths) -> None:
    found = examine(paths)

    assert codes(found) == []
    assert [root.source.name for root in found.roots] == ["public", "staging"]


def test_every_broken_file_is_a_finding(paths: Paths, tmp_path: Path) -> None:
    paths.config_file.write_text(BROKEN)
    paths.managed_file.write_text('[policy]\nrequire = "nobody"\n')
    (tmp_path / "site.toml").symlink_to(tmp_path / "not-mounted")
    copy = paths.refreshed_root("public")
    copy.parent.mkdir(parents=True, mode=0o700)
    copy.write_text("{")
    record = paths.plugins / "acme/box/1.0.0/receipt.json"
    record.parent.mkdir(parents=True, mode=0o700)
    record.write_text("{")

    with unchanged(paths.home):
        found = examine(paths)

    expected = [*["configuration-invalid"] * 3, "trust-root-invalid", "receipt-invalid"]
    assert codes(found) == expected
    told = [finding.what + finding.why for finding in found.findings]
    for name in ("config.toml", "managed.toml", "site.toml", "public.json", "receipt.json"):
        assert sum(name in text for text in told) == 1, name


@pytest.fixture
def used(paths: Paths) -> Paths:
    """A home in which every kind of record is kept, whole."""
    create_domain(paths.local_domain, "alice@local")
    StateDatabase(paths.state_database).close()
    current = paths.plugins / "acme/box/current.json"
    current.parent.mkdir(parents=True, mode=0o700)
    current.write_bytes(Current("1.0.0").to_bytes())
    for file, text in {
        paths.lock_file: "schema = 1\n",
        paths.signed_documents: '{"schema": 1, "documents": {}}',
        paths.known_versions: '{"schema": 1, "plugins": {}}',
    }.items():
        file.write_text(text)
        file.chmod(0o600)
    return paths


def test_nothing_is_wrong_with_whole_records_and_nothing_is_written(used: Paths) -> None:
    with unchanged(used.home):
        assert codes(examine(used)) == []


LATER = '{"schema": 9}'


@pytest.mark.parametrize(
    ("name", "contents", "code"),
    [
        ("aperio.lock", "garbage", "lock-file-invalid"),
        ("aperio.lock", "schema = 9\n", "record-newer"),
        ("state.db", "garbage, and no header of SQLite", "state-unreadable"),
        ("trust/signed-documents.json", "{", "registry-signature-invalid"),
        ("trust/signed-documents.json", LATER, "registry-signature-invalid"),
        ("trust/known-versions.json", "{", "known-versions-unreadable"),
        ("trust/known-versions.json", LATER, "record-newer"),
        ("trust/local/domain.json", "{", "trust-domain-broken"),
        ("trust/local/domain.json", LATER, "record-newer"),
        ("trust/local/keys/log.pem", "garbage", "trust-domain-broken"),
        ("trust/local/trusted_root.json", "{", "trust-root-invalid"),
        ("plugins/acme/box/current.json", "{", "receipt-invalid"),
        ("plugins/acme/box/current.json", LATER, "record-newer"),
    ],
)
def test_every_record_that_a_command_would_stop_at_is_a_finding(
    used: Paths, name: str, contents: str, code: str
) -> None:
    (used.home / name).write_text(contents)

    with unchanged(used.home):
        found = examine(used)

    assert codes(found) == [code]
    [finding] = found.findings
    assert str(used.home) in f"{finding.what}{finding.why}"


def test_database_of_a_newer_aperio_is_a_finding(used: Paths) -> None:
    with contextlib.closing(sqlite3.connect(used.state_database)) as database:
        database.execute("PRAGMA user_version = 9")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert codes(examine(used)) == ["record-newer"]


def test_what_can_be_read_is_looked_at_beside_what_cannot(paths: Paths, tmp_path: Path) -> None:
    paths.config_file.write_text(OURS)
    paths.managed_file.write_text(BROKEN)
    (tmp_path / "site.toml").write_text('[sandbox]\nrequire = ["memory"]\n')

    config, problems = load_readable(paths)

    assert [problem.what for problem in problems] == [f"`{paths.managed_file}` was not read"]
    assert [rule.namespace for rule in config.user.publishers] == ["acme"]
    assert config.sandbox_require == ("memory",)


def test_rule_for_a_domain_that_no_file_states_is_the_one_finding(paths: Paths) -> None:
    paths.config_file.write_text(OURS)

    config, problems = load_readable(paths)

    assert [problem.code for problem in problems] == ["configuration-invalid"]
    assert [rule.domain for rule in config.user.publishers] == ["ours"]


def test_publisher_file_that_is_missing_is_a_finding(paths: Paths) -> None:
    missing = paths.home / "publishers.json"
    entry = f'[[publisher_files]]\nfile = "{missing}"\ndomain = "public"\n'
    paths.config_file.write_text(entry + 'identity = "a@b.example"\nissuer = "https://b.example"\n')

    found = examine(paths)

    assert codes(found) == ["publisher-file-invalid"]
    assert str(missing) in found.findings[0].what


def test_clock_that_is_behind_the_roots_is_a_finding(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2016, 11, 29, tzinfo=UTC))

    found = examine(paths)

    assert codes(found) == ["clock-suspect"]
    assert "the trusted root `public` was current at" in found.findings[0].why


def test_temporary_folder_that_is_not_there_is_a_finding(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))

    assert codes(examine(paths)) == ["place-unusable"]


def test_temporary_folder_is_made_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with temporary_folder("aperio-x-") as folder:
        assert os.path.dirname(folder) == str(tmp_path)  # noqa: PTH120


def test_temporary_folder_is_removed_however_deep_and_closed_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("aperio-x-") as plain:
        Path(plain, "file").write_text("x")

    def fail() -> None:
        with temporary_folder("aperio-x-") as folder:
            nest(Path(folder), 3000)
            Path(folder, "d").chmod(0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.glob("aperio-x-*")) == []


def test_doctor_tells_people_and_scripts_every_remedy(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.config_file.write_text(BROKEN)

    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert main(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)

    [finding] = document["data"]["findings"]
    assert (document["status"], document["errors"]) == ("error", [])
    for text in (finding["what"], finding["why"], *finding["next"], finding["code"]):
        assert text in told


def test_doctor_tells_the_configured_registries(
    paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = registry_folder(tmp_path / "registry")
    elsewhere = '\n[[registries]]\nurl = "https://registry.example/"\n'
    paths.config_file.write_text(f'[[registries]]\nurl = "{folder}"\n{elsewhere}')

    assert main(["doctor", "--json", "--offline"]) == 0
    found = json.loads(capsys.readouterr().out)["data"]["registries"]
    assert main(["doctor", "--offline"]) == 0
    told = capsys.readouterr().out

    assert [each["url"] for each in found] == [str(folder), "https://registry.example/"]
    assert [each["is_reachable"] for each in found] == [True, None]
    assert f"{folder}  nobody has to have signed it; no edition was read yet; reachable" in told
    assert "not asked: nobody is stated who signs it" in told


def test_interpreters_are_asked_at_the_same_time(tmp_path: Path) -> None:
    """Each waits until the other was started: asked in turn, neither would ever answer."""
    for name, other in (("one", "two"), ("two", "one")):
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\n: > {tmp_path}/{name}.up\n"
            f"until [ -e {tmp_path}/{other}.up ]; do /bin/sleep 0.02; done\n"
            f": > {tmp_path}/{name}.met\nexit 3\n"
        )
        program.chmod(0o755)

    assert find_interpreters([str(tmp_path / "one"), str(tmp_path / "two")]) == []
    assert len(list(tmp_path.glob("*.met"))) == 2
