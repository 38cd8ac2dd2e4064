"""Signing a registry, checking that it is whole, withdrawing versions: real bundles throughout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import (
    EditionSigned,
    PluginNotFound,
    RegistryDamaged,
    RegistryNotBuilt,
    VersionWithdrawn,
)
from aperio_cli.errors.usage import UsageError, VersionInvalid
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.registry.documents import (
    ROOT_FILE,
    SHARDS,
    FileRef,
    plugin_path,
    shard_path,
)
from aperio_cli.models.registry.plugin_file import parse_plugin_file
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.shard import parse_shard
from aperio_cli.proving.signature import verify_signature
from aperio_cli.publishing import (
    AddRequest,
    Withdrawn,
    WithdrawRequest,
    add,
    build,
    find_sealable,
    init,
    note_sealed,
    place_sealed,
    withdraw,
)
from aperio_cli.publishing.checking import Checked, check_registry
from aperio_cli.publishing.output import ROOT_BUNDLE
from aperio_cli.publishing.source import open_source
from aperio_cli.signing import sign_file
from tests.builders import LINUX, Machine, nest, unchanged
from tests.rows import for_rows
from tests.trust import IDENTITY, new_domain, root_of
from tests.writing_registries import put, record_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.registry.root import Root
    from aperio_cli.signing.local import LocalDomain

BOX = PluginId("acme", "box-connector")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def source(tmp_path: Path, domain: LocalDomain) -> Path:
    """The source of a registry with a plugin that was added as `registry add` does."""
    init(tmp_path / "registry")
    machine = Machine(tmp_path, domain)
    what = str(machine.signed())
    add(AddRequest(tmp_path / "registry", what, machine.policy, machine.roots, LINUX))
    return tmp_path / "registry"


def sign(source: Path, domain: LocalDomain) -> Root:
    """Sign what is built, as the command does."""
    found = find_sealable(source)
    sign_file(found.path, found.digest, domain=domain)
    note_sealed(source, found)
    place_sealed(source, found)
    return found.root


def check(source: Path, domain: LocalDomain) -> Checked:
    return check_registry(source, [root_of(domain)])


# ── signing ───────────────────────────────────────────────────────────────────────────────────────


def test_signed_registry_is_whole(source: Path, domain: LocalDomain) -> None:
    build(source)
    root = sign(source, domain)
    checked = check(source, domain)
    assert (checked.root, checked.signer.identity) == (root, IDENTITY)
    assert checked.plugins == 1
    assert build(source).is_signed


def test_next_edition_names_the_one_that_was_signed(source: Path, domain: LocalDomain) -> None:
    build(source)
    first = find_sealable(source)
    sign(source, domain)
    build(source, is_renewed=True)
    second = find_sealable(source)
    sign(source, domain)
    assert second.root.previous
    assert (second.root.previous.serial, second.root.previous.digest) == (
        first.root.serial,
        first.digest,
    )
    build(source)  # the same edition again names the same one
    assert find_sealable(source).digest == second.digest
    build(source, is_renewed=True)
    third = find_sealable(source).root.previous
    assert third
    assert third.digest == second.digest


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "registry.json").unlink(), "is not there"),
        (lambda out: (out / "catalogue.json").write_text("{}"), "`catalogue.json` is not what"),
        (lambda out: (out / "shards/00.json").write_text("{}"), "`shards/00.json` is not what"),
        (lambda out: (out / "feed.atom").unlink(), "is not there"),
    ],
)
def test_damaged_build_is_not_signed(source: Path, spoil: Any, said: str) -> None:
    spoil(build(source).out)
    with unchanged(source), pytest.raises(RegistryNotBuilt) as caught:
        find_sealable(source)
    assert said in caught.value.why
    assert (caught.value.code, caught.value.exit_status) == ("registry-not-built", 1)


def test_registry_that_is_not_built_is_not_signed(source: Path) -> None:
    with pytest.raises(RegistryNotBuilt):
        find_sealable(source)


def test_build_of_an_earlier_edition_is_not_signed(source: Path) -> None:
    build(source)
    put(source, PluginId("acme", "other"), "1.0.0")
    with pytest.raises(RegistryNotBuilt) as caught:
        find_sealable(source)
    assert "source: epoch 1, serial 2\nbuilt:  epoch 1, serial 1" in caught.value.why


def test_edition_that_has_ended_is_not_signed(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    path = source / "aperio-registry.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"updated_at": "2020-01-01"}))
    build(source)
    with pytest.raises(RegistryNotBuilt) as caught:
        find_sealable(source)
    assert "this edition ended on 2020-01-31" in caught.value.why
    assert caught.value.next[0] == f"`aperio registry build --renew --dir {source}`"


def test_second_root_of_one_edition_is_not_signed(
    source: Path, domain: LocalDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aperio_cli.publishing import index

    build(source)
    sign(source, domain)
    path = source / "records/acme/box-connector.json"
    path.write_text(path.read_text().replace("Reads audit", "Read audit"))
    monkeypatch.setattr(index, "_refuse_another", lambda *_: None)  # as an older build would
    build(source)
    with pytest.raises(EditionSigned):
        find_sealable(source)


# ── a build that waits to be signed ──────────────────────────────────────────────────────────────


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shown(source: Path, domain: LocalDomain) -> int:
    """The edition that clients read, which is signed and has all that its root states."""
    public = source / "public"
    data, bundle = ((public / name).read_bytes() for name in (ROOT_FILE, ROOT_BUNDLE))
    verify_signature(Digest.of(data), bundle, [root_of(domain)], subject="the root")
    root = parse_root(data, where="r")
    stated = dict(root.files) | {shard_path(n): ref for n, ref in enumerate(root.shards)}
    for number, path in enumerate(list(stated)[-SHARDS:]):
        plugins = parse_shard((public / path).read_bytes(), number=number, where=path).plugins
        stated |= {plugin_path(plugin): ref for plugin, ref in plugins.items()}
    assert {path: FileRef.of((public / path).read_bytes()) for path in stated} == stated
    return root.serial


@pytest.fixture
def waiting(source: Path, domain: LocalDomain) -> Path:
    """A source whose signed build waits for the next one, of which one plugin is new, one gone."""
    cache = source.parent / "cache"
    put(source, PluginId("zeta", "gone"), "1.0.0")
    build(source, cache=cache)
    sign(source, domain)
    put(source, PluginId("acme", "fresh"), "1.0.0")
    (source / "records/zeta/gone.json").unlink()
    before = contents(source / "public")
    report = build(source, cache=cache, is_renewed=True)
    assert (report.is_signed, report.is_waiting) == (False, True)
    assert contents(source / "public") == before
    return source


def test_signed_build_stays_whole_until_the_next_one_is_signed(
    waiting: Path, domain: LocalDomain
) -> None:
    public = waiting / "public"
    assert shown(waiting, domain) < find_sealable(waiting).root.serial
    root = sign(waiting, domain)
    assert shown(waiting, domain) == root.serial
    assert (public / "plugins/acme/fresh.json").exists()
    assert not (public / "plugins/zeta").exists()
    assert not list(waiting.glob(".aside-*"))
    anew = build(waiting, waiting.parent / "anew").out
    built = contents(public)
    assert built.pop("registry.json.sigstore.json")
    assert built == contents(anew)
    # What is kept of it is of use again: the same edition is taken over as it is.
    with unchanged(public):
        assert build(waiting, cache=waiting.parent / "cache").is_signed


def test_build_that_waits_is_replaced_by_the_next_one(waiting: Path, domain: LocalDomain) -> None:
    before = contents(waiting / "public")
    put(waiting, PluginId("acme", "fresher"), "1.0.0")
    serial = build(waiting, cache=waiting.parent / "cache", is_renewed=True).serial
    assert contents(waiting / "public") == before
    assert sign(waiting, domain).serial == serial
    assert shown(waiting, domain) == serial


def test_what_was_built_while_it_was_signed_is_not_put_in_place(
    waiting: Path, domain: LocalDomain
) -> None:
    before = contents(waiting / "public")
    found = find_sealable(waiting)
    sign_file(found.path, found.digest, domain=domain)
    build(waiting, is_renewed=True)
    with pytest.raises(RegistryNotBuilt, match="not a build of this source") as caught:
        place_sealed(waiting, found)
    assert "built again" in caught.value.why
    assert contents(waiting / "public") == before
    sign(waiting, domain)
    shown(waiting, domain)


@pytest.mark.parametrize("note", [None, b"x", b"{}", b'{"replaces": 1, "merged": true}'])
def test_build_that_waits_for_another_place_is_not_put_there(
    waiting: Path, domain: LocalDomain, note: bytes | None
) -> None:
    path = waiting / ".aside-public-unsigned.json"
    path.unlink()
    if note is not None:
        path.write_bytes(note)
    with pytest.raises(RegistryNotBuilt) as caught:
        sign(waiting, domain)
    assert "what it is to replace" in caught.value.why
    shown(waiting, domain)
    build(waiting, cache=waiting.parent / "cache")
    sign(waiting, domain)
    assert shown(waiting, domain) == find_sealable(waiting).root.serial


def test_failure_while_it_takes_its_place_brings_the_signed_build_back(
    waiting: Path, domain: LocalDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Beneath.rename

    def fail(self: Beneath, name: str, other: str) -> None:
        if other == "public" and name.endswith("-unsigned"):
            raise OSError(5, "Input/output error")
        rename(self, name, other)

    before = contents(waiting / "public")
    with monkeypatch.context() as failing:
        failing.setattr(Beneath, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            sign(waiting, domain)
    assert contents(waiting / "public") == before
    sign(waiting, domain)
    shown(waiting, domain)


def test_link_in_the_place_of_the_build_that_waits_is_not_signed(
    waiting: Path, domain: LocalDomain, tmp_path: Path
) -> None:
    place = waiting / ".aside-public-unsigned"
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotRegular):
        find_sealable(waiting)
    place.unlink()
    (tmp_path / "elsewhere").rename(place)
    sign(waiting, domain)


# ── checking ──────────────────────────────────────────────────────────────────────────────────────


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


DAMAGES: list[tuple[str, bytes | None, str]] = [
    ("registry.json.sigstore.json", None, "registry.json.sigstore.json: it is not there"),
    ("registry.json.sigstore.json", b"{}", "registry.json.sigstore.json:"),
    ("catalogue.json", b"{}", "catalogue.json: expected sha256:"),
    ("feed.atom", None, "feed.atom: it is not there"),
    ("shards/7f.json", b"x", "shards/7f.json: expected sha256:"),
    ("plugins/acme/*.json", b"{}", "plugins/acme/box-connector.json: expected sha256:"),
    ("plugins/acme/*.json", None, "plugins/acme/box-connector.json: it is not there"),
    ("artifacts/*/*/*/*", b"evil", ": expected sha256:"),
    ("artifacts/*/*/*/*", None, ": it is not there"),
    ("bundles/*/*/*", b"{}", ": expected sha256:"),
    ("bundles/*/*/*", None, ": it is not there"),
    ("schemas/root.schema.json", b"{}", "schemas/root.schema.json: expected sha256:"),
    ("schemas/shard.schema.json", None, "schemas/shard.schema.json: it is not there"),
    ("schemas/evil.json", b"{}", "schemas/evil.json: nothing states it"),
    ("artifacts/evil", b"", "artifacts/evil: nothing states it"),
    ("plugins/acme/evil.json", b"", "plugins/acme/evil.json: nothing states it"),
]


def test_registry_that_is_not_whole_is_found_out(source: Path, domain: LocalDomain) -> None:
    out = build(source).out
    sign(source, domain)
    check(source, domain)

    @for_rows(DAMAGES)
    def check_damage(pattern: str, data: bytes | None, said: str) -> None:
        path = only(out, pattern) if list(out.glob(pattern)) else out / pattern
        whole = path.read_bytes() if path.exists() else None
        put_there(path, data)
        with unchanged(source), pytest.raises(RegistryDamaged) as caught:
            check(source, domain)
        assert said in caught.value.why
        assert (caught.value.code, caught.value.exit_status) == ("registry-damaged", 1)
        put_there(path, whole)

    check_damage()
    check(source, domain)


def put_there(path: Path, data: bytes | None) -> None:
    """Have a file hold this, or not be there."""
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)


def test_folders_without_end_are_found_out_and_replaced(source: Path, domain: LocalDomain) -> None:
    out = build(source, cache=source.parent / "cache").out
    sign(source, domain)
    nest(out / "artifacts", 40)
    with pytest.raises(RegistryDamaged, match="is not whole") as caught:
        check(source, domain)
    assert "artifacts` was not used: too many folders stand in each other" in caught.value.why
    build(source, cache=source.parent / "cache")
    check(source, domain)


def test_edition_that_was_dated_ahead_is_found_out(source: Path, domain: LocalDomain) -> None:
    """Its end would be as far ahead, and so would be that of every edition after it."""
    path = source / "aperio-registry.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"updated_at": "2999-01-01"}))
    build(source)
    sign(source, domain)
    with pytest.raises(RegistryDamaged) as caught:
        check(source, domain)
    assert "made on 2999-01-01T00:00:00Z, which is yet to come" in caught.value.why


def test_bundle_of_another_artifact_is_found_out(source: Path, domain: LocalDomain) -> None:
    """Its digest is right, because the record states it; what it signs is something else."""
    put(source, BOX, "9.0.0", has_artifact=True)
    build(source)
    sign(source, domain)
    with pytest.raises(RegistryDamaged) as caught:
        check(source, domain)
    assert "not a Sigstore bundle" in caught.value.why


@pytest.mark.parametrize(
    ("key", "stated"), [("identity", "mallory@acme.example"), ("domain", "public")]
)
def test_signer_who_is_another_than_the_record_says_is_found_out(
    source: Path, domain: LocalDomain, key: str, stated: str
) -> None:
    """Lists call publishers verified by what a record says, which a pull request may change."""
    record = record_of(source, BOX)
    record["versions"][0]["signer"][key] = stated
    write(source, BOX, record)
    build(source)
    sign(source, domain)
    with pytest.raises(RegistryDamaged) as caught:
        check(source, domain)
    assert f"is {stated}, and it is" in caught.value.why


def test_registry_signed_by_a_stranger_is_not_taken_for_signed(
    source: Path, domain: LocalDomain, tmp_path: Path
) -> None:
    build(source)
    sign(source, new_domain(tmp_path / "stranger"))
    with pytest.raises(RegistryDamaged):
        check(source, domain)


# ── withdrawing ───────────────────────────────────────────────────────────────────────────────────


def say(source: Path, state: str, ref: str = f"{BOX}@1.2.3", **changes: str) -> Withdrawn:
    stated = {"reason": "loses events"} | changes
    return withdraw(WithdrawRequest(source, PluginRef.parse(ref), state, **stated))


@pytest.mark.parametrize("state", ["deprecated", "yanked", "revoked"])
def test_withdrawn_version_says_why_and_what_to_use(source: Path, state: str) -> None:
    put(source, BOX, "1.3.0")
    with open_source(source) as registry:
        before = registry.edition().serial
    found = say(source, state, replacement="1.3.0")
    assert (found.serial, found.was_there) == (before + 1, False)
    file = (build(source).out / "plugins/acme/box-connector.json").read_bytes()
    version = parse_plugin_file(file, where="p").version("1.2.3")
    assert version
    assert version.status == found.status
    assert (found.status.state, found.status.replacement) == (state, "1.3.0")


def test_same_word_again_changes_nothing(source: Path) -> None:
    say(source, "yanked")
    with unchanged(source):
        assert say(source, "yanked").was_there


def test_version_is_withdrawn_for_more_and_never_for_less(source: Path) -> None:
    for state in ("deprecated", "yanked", "revoked"):
        say(source, state)
    for state in ("yanked", "deprecated"):
        with unchanged(source), pytest.raises(VersionWithdrawn) as caught:
            say(source, state)
        assert (caught.value.code, caught.value.exit_status) == ("version-withdrawn", 1)


@pytest.mark.parametrize(
    ("ref", "changes", "error"),
    [
        (str(BOX), {}, UsageError),
        (f"{BOX}@1.2.3", {"reason": " "}, UsageError),
        (f"{BOX}@1.2.3", {"reason": "two\nlines"}, UsageError),
        (f"{BOX}@1.2.3", {"reason": "x" * 2001}, UsageError),
        (f"{BOX}@1.2.3", {"replacement": "1.2.3"}, UsageError),
        (f"{BOX}@1.2.3", {"replacement": "soon"}, VersionInvalid),
        (f"{BOX}@1.2.3", {"replacement": "9.9.9"}, PluginNotFound),
        (f"{BOX}@9.9.9", {}, PluginNotFound),
        ("acme/none@1.0.0", {}, PluginNotFound),
    ],
)
def test_what_cannot_be_withdrawn_is_left_as_it_is(
    source: Path, ref: str, changes: dict[str, str], error: type[Exception]
) -> None:
    with unchanged(source), pytest.raises(error):
        say(source, "yanked", ref, **changes)


def test_replacement_is_a_version_that_can_be_had(source: Path) -> None:
    put(source, BOX, "1.3.0")
    say(source, "revoked", f"{BOX}@1.3.0")
    with pytest.raises(VersionWithdrawn, match="replacement"):
        say(source, "yanked", replacement="1.3.0")


def test_root_of_a_withdrawal_is_the_next_edition(source: Path, domain: LocalDomain) -> None:
    build(source)
    first = sign(source, domain)
    say(source, "yanked")
    build(source)
    second = find_sealable(source).root
    assert second.serial == first.serial + 1
    assert sign(source, domain) == second
    check(source, domain)
