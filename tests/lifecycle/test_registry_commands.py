"""The life of a registry, typed by its maintainer: from `init` to what others read of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.publishing.serving import serving
from tests.builders import snapshot
from tests.lifecycle.plugins import PLUGIN, artifact_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

OLD, NEW = "1.0.0", "2.0.0"


def made(aperio: Aperio, version: str = OLD, **changes: object) -> Path:
    """A signed artifact, alone in its folder."""
    folder = aperio.folder / f"dist-{version}"
    artifact = artifact_of(folder, "print()\n", version=version, **changes)
    aperio("plugin", "sign", artifact, "--trust", "local")
    return artifact


def publish(aperio: Aperio) -> None:
    aperio("registry", "build", "--dir", "registry")
    aperio("registry", "sign", "--dir", "registry", "--trust", "local")


def state_registry(aperio: Aperio, source: Path) -> None:
    """State in config.toml who signs the registry of a source."""
    stated = f'[[registries]]\nurl = "{source}/public"\ndomain = "local"\n'
    (aperio.home / "config.toml").write_text(f'{stated}identity = "alice@local"\n')


@pytest.fixture
def source(aperio: Aperio) -> Path:
    """The source of a registry with two versions, built and signed."""
    aperio("registry", "init", "registry")
    for version in (OLD, NEW):
        aperio("registry", "add", made(aperio, version), "--dir", "registry")
    publish(aperio)
    return aperio.folder / "registry"


def record_of(source: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((source / "records" / f"{PLUGIN}.json").read_text())
    return record


# ── init ──────────────────────────────────────────────────────────────────────────────────────────


def test_init_names_a_registry_and_its_clients_ask_for_that_name(aperio: Aperio) -> None:
    data = aperio("registry", "init", "registry", "--name", "main", "--json").data
    assert data == {"path": str(aperio.folder / "registry"), "name": "main"}
    aperio("registry", "add", made(aperio), "--dir", "registry")
    publish(aperio)
    assert json.loads((aperio.folder / "registry/public/registry.json").read_text())["name"] == (
        "main"
    )
    config = aperio.home / "config.toml"
    stated = f'[[registries]]\nurl = "{aperio.folder}/registry/public"\ndomain = "local"\n'
    config.write_text(f'{stated}identity = "alice@local"\nname = "other"\n')
    aperio.refuses("plugin", "search", code="registry-signature-invalid", status=3, noted=True)
    config.write_text(f'{stated}identity = "alice@local"\nname = "main"\n')
    assert PLUGIN in aperio("plugin", "search").out


@pytest.mark.parametrize("name", [" ", "a\nb", "x" * 121])
def test_init_refuses_what_is_no_name(aperio: Aperio, name: str) -> None:
    told = aperio.refuses("registry", "init", "registry", "--name", name, code="usage", status=2)
    assert "at most 120" in told.why
    assert not (aperio.folder / "registry").exists()


def test_init_leaves_a_folder_with_something_in_it(aperio: Aperio) -> None:
    assert aperio("registry", "init", "registry", "--json").data["name"] is None
    aperio.refuses("registry", "init", "registry", code="registry-source-exists", status=1)
    (aperio.folder / "other").mkdir()
    (aperio.folder / "other" / "mine").touch()
    aperio.refuses("registry", "init", "other", code="registry-source-exists", status=1)


# ── what is printed to be typed next ──────────────────────────────────────────────────────────────


def follow(aperio: Aperio, said: str) -> list[str]:
    """Type every registry command that a text shows, as it shows it; return them."""
    printed: list[str] = re.findall("`(aperio registry (?:build|sign)[^`]*)`", said)
    for line in printed:
        aperio(*shlex.split(line)[1:])
    return printed


def test_every_step_that_is_printed_works_as_printed(aperio: Aperio) -> None:
    """In a trust domain of one's own, in a folder whose name has to be quoted."""
    place = "our 'own' registry"
    first = aperio("registry", "init", place)
    step = re.search("next: `(.*)`", first.err)
    assert step
    line = step[1].replace("ARTIFACT", shlex.quote(str(made(aperio))))
    (build,) = follow(aperio, aperio(*shlex.split(line)[1:]).err)
    (sign,) = follow(aperio, aperio(*shlex.split(build)[1:]).err)
    assert "--trust local" in sign
    for verb in ("deprecate", "yank", "revoke"):
        words = ("registry", verb, f"{PLUGIN}@{OLD}", "--reason", "loses events", "--dir", place)
        assert len(follow(aperio, aperio(*words).err)) == 2
        aperio("registry", "verify", "--dir", place)
    refused = aperio.refuses(
        "registry", "yank", "a/bb@1.0.0", "--reason", "x", "--dir", "nowhere's",
        code="registry-source-invalid", status=1,
    )  # fmt: skip
    made_one = [line for line in refused.next if "registry init" in line]
    aperio(*shlex.split(made_one[0].partition("`")[2].rstrip("`"))[1:])
    assert (aperio.folder / "nowhere's" / "aperio-registry.json").is_file()


def test_an_edition_that_ends_is_renewed_by_what_is_printed(aperio: Aperio, source: Path) -> None:
    stated = json.loads((source / "aperio-registry.json").read_text())
    (source / "aperio-registry.json").write_text(json.dumps(stated | {"valid_days": 1}))
    renewed = aperio("registry", "build", "--dir", "registry", "--renew")
    assert "ends on" in renewed.err
    assert "sign --trust local --dir registry`" in renewed.err
    follow(aperio, renewed.err)
    # A copy is nobody's to build: its maintainer is named in the place of a command.
    shutil.copytree(source / "public", aperio.folder / "copy")
    told = aperio("registry", "verify", "--dir", "copy").err
    assert "whoever maintains it" in told
    assert "--dir copy" not in told


def test_a_registry_that_is_named_in_the_place_of_its_folder_leads_to_both(
    aperio: Aperio, source: Path
) -> None:
    told = aperio.refuses("registry", "verify", "registry", code="usage", status=2)
    files, log = (re.findall("`(.*)`", step)[0] for step in told.next)
    assert files == "aperio registry verify --dir registry"
    aperio(*shlex.split(files)[1:])
    assert log == "aperio registry verify registry --log"
    state_registry(aperio, source)
    aperio(*shlex.split(log)[1:])
    address = "https://ann:s3cret@x.invalid/a"
    told = aperio.refuses("registry", "verify", address, code="usage", status=2)
    assert told.next == ("`aperio registry verify https://x.invalid/a --log`",)


def test_a_folder_that_is_no_registry_is_not_told_to_be_built(aperio: Aperio) -> None:
    foreign = aperio.folder / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("x")
    for words in (("verify", "--dir", "foreign"), ("serve", "foreign")):
        told = aperio.refuses("registry", *words, code="registry-source-invalid", status=1)
        assert not any("registry build" in step for step in told.next)
    built = ("registry", "build", "--dir", "foreign")
    told = aperio.refuses(*built, code="registry-source-invalid", status=1)
    assert "make one: `aperio registry init DIR`" in told.next
    (foreign / "plugins.json").write_text("{}")
    verified = ("registry", "verify", "--dir", "foreign")
    told = aperio.refuses(*verified, code="registry-damaged", status=1)
    assert not any("registry build" in step for step in told.next)


def test_mirror_of_some_is_whole_when_all_that_it_has_is(aperio: Aperio, source: Path) -> None:
    aperio("registry", "add", made(aperio, id="acme/other"), "--dir", "registry")
    publish(aperio)
    state_registry(aperio, source)
    aperio("registry", "mirror", "mirror", f"{PLUGIN}@{OLD}")
    verify = ("registry", "verify", "--dir", "mirror")
    aperio.refuses(*verify, code="registry-damaged", status=1)
    told = aperio(*verify, "--mirror", "--json").data
    assert (told["plugins"], told["left_out"]) == (1, 1)
    assert "1 plugin of the registry not in it" in aperio(*verify, "--mirror").out
    aperio.refuses(*verify, "--mirror", "--log", code="usage", status=2)
    mirror = aperio.folder / "mirror"
    proof = next(mirror.rglob("*.tlog-proof"))
    for path in (proof, proof.with_suffix(""), mirror / "shards/00.json", mirror / "plugins.json"):
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b"a", b"b", 1))
        told = aperio.refuses(*verify, "--mirror", code="registry-damaged", status=1)
        assert path.name in told.why
        path.write_bytes(kept)
    aperio(*verify, "--mirror")


# ── add ───────────────────────────────────────────────────────────────────────────────────────────


def test_add_copies_an_artifact_a_folder_and_what_is_at_an_address(aperio: Aperio) -> None:
    aperio("registry", "init", "registry")
    artifact = made(aperio)
    [added] = aperio("registry", "add", artifact, "--dir", "registry", "--json").data["added"]
    assert (added["id"], added["version"], added["was_there"]) == (PLUGIN, OLD, False)
    again = aperio("registry", "add", artifact.parent, "--dir", "registry")
    assert again.out == f"`{PLUGIN}` {OLD} linux/amd64 was there already\n"
    newer = made(aperio, NEW)
    with serving(newer.parent) as url:
        aperio("registry", "add", f"{url}{newer.name}?token=x", "--dir", "registry")
    kept = aperio.folder / "registry" / "artifacts" / PLUGIN
    assert (kept / OLD / artifact.name).read_bytes() == artifact.read_bytes()
    assert (kept / NEW / newer.name).read_bytes() == newer.read_bytes()
    assert "url" not in (aperio.folder / "registry" / "records" / f"{PLUGIN}.json").read_text()


def test_add_refuses_other_bytes_under_a_version_that_is_there(
    aperio: Aperio, source: Path
) -> None:
    other = made(aperio, OLD, license="GPL-3.0-only")
    told = aperio.refuses(
        "registry", "add", other, "--dir", source, code="published-version-changed", status=3
    )
    assert "give the new contents a new version" in told.next[0]


def test_add_by_url_leaves_an_artifact_where_it_is(aperio: Aperio) -> None:
    aperio("registry", "init", "registry")
    source = aperio.folder / "registry"
    edition = source / "aperio-registry.json"
    edition.write_text(json.dumps(json.loads(edition.read_text()) | {"private": True}))
    artifact = made(aperio)
    with serving(artifact.parent) as url:
        address = f"{url}{artifact.name}"
        aperio("registry", "add", address, "--by-url", "--dir", "registry")
        [version] = record_of(source)["versions"]
        [stated] = version["artifacts"]
        assert (stated["url"], stated["size"]) == (address, artifact.stat().st_size)
        kept = source / "artifacts" / PLUGIN / OLD
        assert not (kept / artifact.name).exists()
        assert (kept / f"{artifact.name}.sigstore.json").exists()
        publish(aperio)
        aperio("registry", "verify", "--dir", "registry")
        with serving(source / "public") as registry:
            aperio("plugin", "install", PLUGIN, "--registry", registry)
    assert aperio("plugin", "list", "--json").data["plugins"][0]["version"] == OLD


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("dist-1.0.0", "expected the address"),
        ("https://a.example/a_1.0.0_linux_amd64.tar.gz?token=x", "without a query"),
        ("https://u:p@a.example/a_1.0.0_linux_amd64.tar.gz", "a user or a password"),
        ("http://a.example/a_1.0.0_linux_amd64.tar.gz", "not https"),
        ("https://10.0.0.7/a_1.0.0_linux_amd64.tar.gz", "a private network, or this machine"),
        ("https://localhost./a_1.0.0_linux_amd64.tar.gz", "a private network, or this machine"),
    ],
)
def test_add_by_url_refuses_where_readers_may_not_be_sent(
    aperio: Aperio, what: str, why: str
) -> None:
    aperio("registry", "init", "registry")
    words = ("registry", "add", what, "--by-url", "--dir", "registry")
    told = aperio.refuses(*words, code="usage", status=2)
    assert why in told.why
    assert "token" not in told.shown
    assert "u:p" not in told.shown


# ── build, sign, verify ───────────────────────────────────────────────────────────────────────────


def test_build_gives_the_same_bytes_again_and_elsewhere(aperio: Aperio, source: Path) -> None:
    before = snapshot(source / "public")
    aperio("registry", "build", "--dir", "registry", "--full")
    assert snapshot(source / "public") == before
    aperio("registry", "build", "--dir", "registry", "--out", "elsewhere")
    elsewhere = {
        p.removeprefix(f"{aperio.folder}/elsewhere"): d
        for p, d in snapshot(aperio.folder / "elsewhere").items()
    }
    here = {p.removeprefix(f"{source}/public"): d for p, d in before.items()}
    assert {p: d for p, d in here.items() if not p.endswith("registry.json.sigstore.json")} == (
        elsewhere
    )


def test_build_replaces_nothing_that_it_did_not_write(aperio: Aperio, source: Path) -> None:
    (source / "public" / "CNAME").write_text("plugins.acme.example")
    aperio.refuses("registry", "build", "--dir", source, code="registry-output-foreign", status=3)
    (source / "public" / "CNAME").unlink()
    aperio("registry", "build", "--dir", source)


def test_a_change_by_hand_needs_a_new_edition(aperio: Aperio, source: Path) -> None:
    (source / "publishers").mkdir()
    entry = {"schema": "aperio.registry.publisher/v1", "namespace": "acme", "tier": "community"}
    (source / "publishers" / "acme.json").write_text(json.dumps(entry | {"signers": []}))
    aperio.refuses("registry", "build", "--dir", source, code="edition-signed", status=1)
    aperio("registry", "build", "--dir", source, "--renew")
    aperio("registry", "sign", "--dir", source, "--trust", "local")
    assert "serial 3" in aperio("registry", "verify", "--dir", source).out


def test_verify_names_what_is_not_as_it_was_built(aperio: Aperio, source: Path) -> None:
    aperio("registry", "verify", "--dir", source)
    file = source / "public" / "plugins" / f"{PLUGIN}.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"connector", b"destinati", 1))
    told = aperio.refuses("registry", "verify", "--dir", source, code="registry-damaged", status=1)
    assert f"plugins/{PLUGIN}.json" in told.why
    file.write_bytes(whole)
    (source / "public" / "registry.json.sigstore.json").unlink()
    told = aperio.refuses("registry", "verify", "--dir", source, code="registry-damaged", status=1)
    assert "registry.json.sigstore.json" in told.why


def test_verify_of_the_log_is_a_monitor_and_finds_what_the_log_lacks(
    aperio: Aperio, source: Path
) -> None:
    data = aperio("registry", "verify", source / "public", "--log", "--json").data
    assert data["log"]["findings"] == []
    aperio.refuses("registry", "verify", source / "public", code="usage", status=2)


# ── yank, deprecate, revoke ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", ["yank", "deprecate", "revoke"])
def test_withdrawing_is_told_apart_by_who_installs(aperio: Aperio, source: Path, word: str) -> None:
    state = {"yank": "yanked", "deprecate": "deprecated", "revoke": "revoked"}[word]
    words = (f"{PLUGIN}@{NEW}", "--reason", "loses events", "--replacement", OLD)
    done = aperio("registry", word, *words, "--dir", "registry")
    assert done.out == f"`{PLUGIN}@{NEW}` is {state}: loses events; use {OLD}\n"
    again = aperio("registry", word, *words, "--dir", "registry", "--json").data
    assert (again["state"], again["was_there"], again["replacement"]) == (state, True, OLD)
    built = aperio("registry", "build", "--dir", "registry")
    assert ("withdrawn" in built.err) is (word != "deprecate")
    aperio("registry", "sign", "--dir", "registry", "--trust", "local")
    install = ("plugin", "install", f"{PLUGIN}@{NEW}", "--registry", source / "public")
    if word == "deprecate":
        assert "loses events" in aperio(*install).err
    else:
        code, status = ("revoked", 3) if word == "revoke" else ("version-yanked", 1)
        [error] = aperio(*install, "--json", status=status).document["errors"]
        assert error["code"] == code
        aperio("plugin", "install", PLUGIN, "--registry", source / "public")
        assert aperio("plugin", "list", "--json").data["plugins"][0]["version"] == OLD


def test_withdrawing_goes_one_way_and_names_what_is_there(aperio: Aperio, source: Path) -> None:
    reason = ("--reason", "leaks", "--dir", str(source))
    aperio("registry", "revoke", f"{PLUGIN}@{NEW}", *reason)
    for word in ("yank", "deprecate"):
        told = aperio.refuses(
            "registry", word, f"{PLUGIN}@{NEW}", *reason, code="version-withdrawn", status=1
        )
        assert "is revoked, which is more" in told.what
    for words, code, status in (
        ((PLUGIN, *reason), "usage", 2),
        ((f"{PLUGIN}@{OLD}", "--dir", str(source)), "usage", 2),
        ((f"{PLUGIN}@9.9.9", *reason), "plugin-not-found", 1),
        ((f"{PLUGIN}@{OLD}", *reason, "--replacement", OLD), "usage", 2),
        ((f"{PLUGIN}@{OLD}", *reason, "--replacement", NEW), "version-withdrawn", 1),
    ):
        aperio.refuses("registry", "yank", *words, code=code, status=status)


# ── mirror, serve ─────────────────────────────────────────────────────────────────────────────────


def test_a_mirror_is_installed_from_by_the_rule_for_what_it_mirrors(
    aperio: Aperio, source: Path
) -> None:
    config = aperio.home / "config.toml"
    signer = 'domain = "local"\nidentity = "alice@local"\n'
    config.write_text(f'[[registries]]\nurl = "{source}/public"\n{signer}')
    done = aperio("registry", "mirror", "mirror", f"{PLUGIN}@{OLD}")
    assert done.out.startswith(f"{PLUGIN} {OLD} linux/amd64\n")
    config.write_text(f'[[registries]]\nurl = "{aperio.folder}/mirror"\n{signer}')
    aperio("plugin", "install", f"{PLUGIN}@{OLD}")
    config.write_text(
        f'[[registries]]\nurl = "{aperio.folder}/mirror"\ndomain = "local"\n'
        'identity = "mallory@local"\n'
    )
    aperio.refuses("plugin", "search", code="registry-signature-invalid", status=3, noted=True)


@contextmanager
def served(aperio: Aperio, *words: object) -> Iterator[str]:
    """`registry serve` as a process; it ends when its standard input does."""
    process = aperio.start("registry", "serve", *words, stdin=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
    assert process.wait(20) == 0
    aperio.running.remove(process)
    process.stdout.close()
    assert process.stderr
    process.stderr.close()


@pytest.mark.usefixtures("source")
def test_serve_says_where_and_ends_with_whoever_started_it(aperio: Aperio) -> None:
    kept = aperio.home / "cache/artifacts"
    kept.mkdir(mode=0o700, parents=True)
    unused = kept / f"{'f' * 64}.tar.gz"
    unused.write_bytes(b"x")
    os.utime(unused, (1, 1))
    with served(aperio, "--dir", "registry", "--json") as line:
        url = json.loads(line)["url"]
        aperio("plugin", "install", PLUGIN, "--registry", url)
    # What was not used for long is gone from the cache then.
    assert len(list(kept.iterdir())) == 1
    assert not unused.exists()
    with served(aperio, "registry", "--fault", "tamper:plugins/*") as url:
        aperio.refuses(
            "plugin", "install", f"{PLUGIN}@{OLD}", "--registry", url,
            code="artifact-digest-mismatch", status=3, noted=True,
        )  # fmt: skip


def test_serve_refuses_two_registries(aperio: Aperio) -> None:
    told = aperio.refuses("registry", "serve", "one", "--dir", "two", code="usage", status=2)
    assert told.what == "nothing was served: `one` and `--dir two` are two"


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("fault", ["none", "stale", "tamper:"])
def test_serve_refuses_a_fault_that_it_cannot_have(aperio: Aperio, fault: str) -> None:
    aperio.refuses("registry", "serve", "registry", "--fault", fault, code="usage", status=2)
