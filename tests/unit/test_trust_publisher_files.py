"""Publisher files: signed for real by a local trust domain, which plays whom the operator named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.config import PublisherFile
from aperio_cli.context import Context, Settings
from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher import CI_SERVICES, LOCAL_ISSUER, CiIdentity, PublisherRule
from aperio_cli.models.publisher_file import parse_publisher_file
from aperio_cli.proving import signature
from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.trust.publisher_files import (
    PublisherFileRequest,
    verify_publisher_file,
)
from tests.builders import snapshot
from tests.rows import each_row
from tests.trust import (
    IDENTITY,
    REPOSITORY,
    WORKFLOW,
    Forge,
    github_identity,
    new_domain,
    root_of,
)
from tests.unit.test_config import PERSON

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.publisher_file import PublisherList
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.trust.signed_document import SignedDocument

DOMAINS = ("public", "staging", "local", "acme-internal")
EXPIRES = clock.format_timestamp(clock.now() + timedelta(days=30))
ACME = {
    "namespace": "acme",
    "domain": "public",
    "identity": "release@acme.example",
    "issuer": "https://accounts.acme.example",
    "tier": "verified",
}
EVERYBODY = ACME | {"namespace": "*", "tier": "community"}


def document(**changes: Any) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "schema": "aperio.publishers/v1",
        "serial": 7,
        "expires": EXPIRES,
        "publishers": [ACME],
    }
    return {key: value for key, value in (stated | changes).items() if value is not None}


def entry(path: Path, name: str = "", **changes: Any) -> PublisherFile:
    named = PublisherRule("*", "local", IDENTITY, LOCAL_ISSUER, "config.toml")
    return PublisherFile(path, replace(named, **changes), name)


@dataclass(frozen=True)
class Publisher:
    """Signs publisher files, and reads them as an operator who named it."""

    domain: LocalDomain
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "publishers.json"

    @property
    def bundle(self) -> Path:
        return self.path.with_name(self.path.name + BUNDLE_SUFFIX)

    @property
    def memory(self) -> Path:
        return self.folder / "home" / "trust" / "signed-documents.json"

    @property
    def root(self) -> TrustedRootSource:
        return root_of(self.domain)

    def sign(self, data: bytes, **changes: Any) -> None:
        """Write these bytes and a bundle over them."""
        self.path.write_bytes(data)
        forge = Forge.of(self.domain).but(**changes)
        self.bundle.write_bytes(forge.bundle_json(Digest.of(data)))

    def state(self, **changes: Any) -> None:
        """Write and sign a file; a change of None leaves its key out."""
        self.sign(json.dumps(document(**changes)).encode())

    def request(self, **changes: Any) -> PublisherFileRequest:
        asked = PublisherFileRequest(entry(self.path), DOMAINS, (self.root,), self.memory)
        return replace(asked, **changes)

    def read(self, **changes: Any) -> SignedDocument[PublisherList]:
        return verify_publisher_file(self.request(**changes))

    def refused(self, **changes: Any) -> PublisherFileInvalid:
        """Why it does not count; nothing was remembered."""
        before = snapshot(self.memory)
        with pytest.raises(PublisherFileInvalid) as caught:
            self.read(**changes)
        assert snapshot(self.memory) == before
        assert str(self.path) in caught.value.what
        return caught.value


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def publisher(domain: LocalDomain, tmp_path: Path) -> Publisher:
    made = Publisher(domain, tmp_path)
    made.state()
    return made


# ── what counts ───────────────────────────────────────────────────────────────────────────────────


def test_file_gives_its_rules_and_who_signed_it(publisher: Publisher) -> None:
    found = publisher.read()
    [rule] = found.stated.rules
    assert rule.to_json() == ACME
    assert rule.stated_in == str(publisher.path)
    assert (found.stated.serial, found.stated.expires) == (7, EXPIRES)
    assert found.signer.identity == IDENTITY


def test_file_may_state_builds_dates_and_demands(publisher: Publisher) -> None:
    build = {
        "namespace": "globex", "domain": "acme-internal", "ci": "gitlab", "plugin": "box",
        "repository": "https://gitlab.com/globex/box", "repository_id": 12, "owner_id": "34",
        "workflow": ".gitlab-ci.yml", "ref": "refs/tags/v{version}", "runner": "gitlab-hosted",
        "valid_from": "2026-01-01", "require_provenance": True,
    }  # fmt: skip
    publisher.state(publishers=[build, ACME])
    first, second = publisher.read().stated.rules
    assert (first.ci and first.ci.repository_id, first.plugin) == ("12", "box")
    assert first.issuer == "https://gitlab.com"
    assert first.valid_from == "2026-01-01T00:00:00Z"
    assert first.demands.provenance
    assert second.namespace == "acme"


def test_file_that_a_build_signs_counts(domain: LocalDomain, tmp_path: Path) -> None:
    ref = "refs/heads/main"
    build = CiIdentity("github", REPOSITORY, "123456", "789", WORKFLOW, ref, "github-hosted")
    publisher = Publisher(domain, tmp_path)
    publisher.sign(json.dumps(document()).encode(), identity=github_identity(ref))
    issuer = CI_SERVICES["github"].issuer
    file = entry(publisher.path, identity="", issuer=issuer, ci=build)
    assert publisher.read(file=file).signer.identity == f"{REPOSITORY}/{WORKFLOW}@{ref}"
    other = entry(publisher.path, identity="", issuer=issuer, ci=replace(build, owner_id="3"))
    assert "expected 3, found 789" in publisher.refused(file=other).why


# ── who signed it ─────────────────────────────────────────────────────────────────────────────────


def test_file_without_a_bundle_is_refused(publisher: Publisher) -> None:
    publisher.bundle.unlink()
    assert f"`{publisher.bundle}` is not there" in publisher.refused().why


def test_file_that_is_not_there_is_refused(publisher: Publisher) -> None:
    publisher.path.unlink()
    assert f"`{publisher.path}` is not there" in publisher.refused().why


def test_file_changed_after_signing_is_refused(publisher: Publisher) -> None:
    publisher.path.write_bytes(
        publisher.path.read_bytes().replace(b"acme.example", b"evil.example")
    )
    assert "signature of another file" in publisher.refused().why


@pytest.mark.parametrize("bundle", [b"", b"{}", b"not json", b"[]"])
def test_file_with_something_else_as_its_bundle_is_refused(
    publisher: Publisher, bundle: bytes
) -> None:
    publisher.bundle.write_bytes(bundle)
    publisher.refused()


def test_file_signed_by_somebody_else_is_refused(publisher: Publisher) -> None:
    data = publisher.path.read_bytes()
    publisher.sign(data, identity=LeafIdentity("mallory@local", LOCAL_ISSUER))
    error = publisher.refused()
    assert "signed by somebody else" in error.why
    assert f"identity: expected {IDENTITY}, found mallory@local" in error.why


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": "alice@local.example"},
        {"identity": "ALICE@local"},
        {"identity": ""},
        {"issuer": "https://accounts.acme.example"},
        {"issuer": ""},
    ],
)
def test_file_of_an_entry_that_names_another_signer_is_refused(
    publisher: Publisher, changes: dict[str, str]
) -> None:
    publisher.refused(file=entry(publisher.path, **changes))


def test_file_signed_in_another_trust_domain_is_refused(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Also when that domain is known here: the entry names the one that counts."""
    other = root_of(new_domain(tmp_path / "other"))
    named = replace(other, name="acme-internal")
    file = entry(publisher.path, domain="acme-internal")
    publisher.refused(file=file, roots=(named, publisher.root))


@pytest.mark.parametrize("roots", [(), ("public",)], ids=["none", "another"])
def test_file_is_refused_where_there_is_no_root_for_its_domain(
    publisher: Publisher, roots: tuple[str, ...]
) -> None:
    named = tuple(replace(publisher.root, name=name) for name in roots)
    assert "`local` cannot be used: there is none" in publisher.refused(roots=named).why


def test_file_is_refused_where_the_root_for_its_domain_is_damaged(publisher: Publisher) -> None:
    broken = replace(publisher.root, problem="not JSON")
    assert "not JSON" in publisher.refused(roots=(broken,)).why


@pytest.mark.parametrize("which", ["path", "bundle"])
def test_file_that_is_too_long_is_refused(publisher: Publisher, which: str) -> None:
    target: Path = getattr(publisher, which)
    target.write_bytes(b" " * (1024 * 1024 + 1))
    assert "too long" in publisher.refused().why


@pytest.mark.parametrize("which", ["path", "bundle"])
def test_file_that_is_a_folder_is_refused(publisher: Publisher, which: str) -> None:
    target: Path = getattr(publisher, which)
    target.unlink()
    target.mkdir()
    assert "regular file" in publisher.refused().why


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": "aperio.publishers/v2"}, "`schema`: expected aperio.publishers/v1"),
        ({"schema": None}, "`schema`"),
        ({"serial": None}, "`serial` is missing"),
        ({"serial": 0}, "`serial`"),
        ({"serial": -1}, "`serial`"),
        ({"serial": "7"}, "`serial`"),
        ({"serial": 7.0}, "`serial`"),
        ({"serial": True}, "`serial`"),
        ({"serial": 2**53}, "`serial`"),
        ({"expires": None}, "`expires`"),
        ({"expires": "never"}, "`expires`"),
        ({"expires": "2031-01-01T00:00:00"}, "`expires`"),
        ({"expires": 2031}, "`expires`"),
        ({"publishers": None}, "`publishers` is missing"),
        ({"publishers": {}}, "`publishers`: expected a list"),
        ({"publishers": ["acme"]}, "`publishers`: expected a list of objects"),
        ({"name": ""}, "`name`: expected text"),
        ({"name": 7}, "`name`: expected text"),
        ({"publisher": []}, "unknown: publisher; did you mean `publishers`"),
        ({"publishers": [ACME, EVERYBODY]}, "`publishers[1].namespace`: a publisher file names"),
        ({"publishers": [ACME | {"domain": "local"}]}, "`publishers[0].tier`: the local trust"),
        ({"publishers": [ACME | {"domain": "local", "tier": "community"}]}, "each machine's own"),
        ({"publishers": [ACME | {"domain": "evil"}]}, "no trust domain of that name"),
        ({"publishers": [ACME | {"identity": " "}]}, "`publishers[0].identity`: expected text"),
        ({"publishers": [ACME | {"ci": "github"}]}, "not both"),
        ({"publishers": [ACME | {"tier": "trusted"}]}, "unknown: trusted"),
        ({"publishers": [ACME | {"issuer": "accounts.acme.example"}]}, "https://"),
        ({"publishers": [ACME | {"valid_from": "yesterday"}]}, "expected a date"),
        ({"publishers": [ACME | {"scope": "all"}]}, "unknown: scope"),
    ],
)  # fmt: skip
def test_signed_file_that_says_something_else_is_refused(
    publisher: Publisher, changes: dict[str, Any], named: str
) -> None:
    publisher.state(**changes)
    assert named in publisher.refused().why


@each_row(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": "aperio.publishers/v1", "schema": "aperio.publishers/v1"}',
        b'{"schema": "aperio.publishers/v1", "serial": NaN}',
        b'{"schema": "aperio.publishers/v1", "serial": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "list", "null", "cut", "bytes", "deep", "twice", "nan", "long number"],
)
def test_bytes_that_are_no_publisher_file_are_refused(data: bytes) -> None:
    with pytest.raises(PublisherFileInvalid, match="not a file of publishers"):
        parse_publisher_file(data, domains=DOMAINS, source="/etc/p.json")


def test_file_that_has_ended_is_refused(publisher: Publisher) -> None:
    publisher.state(expires="2026-01-31")
    assert "it ended on 2026-01-31T23:59:59Z" in publisher.refused().why


def test_file_ends_while_it_is_remembered(publisher: Publisher) -> None:
    publisher.read()
    later = clock.now() + timedelta(days=31)
    assert "it ended on" in publisher.refused(now=later).why


# ── never an older one ────────────────────────────────────────────────────────────────────────────


def test_file_with_a_higher_serial_follows(publisher: Publisher) -> None:
    publisher.read()
    publisher.state(serial=8, publishers=[])
    assert publisher.read().stated.rules == ()


def test_file_with_a_lower_serial_is_refused(publisher: Publisher) -> None:
    publisher.read()
    publisher.state(serial=6)
    said = "expected serial 7 or higher, as seen before of its signer\nfound    serial 6"
    assert said in publisher.refused().why


@pytest.mark.parametrize("spelling", ["with dots", "through a link"])
def test_file_with_a_lower_serial_is_refused_however_its_place_is_spelled(
    publisher: Publisher, tmp_path: Path, spelling: str
) -> None:
    publisher.read()
    publisher.state(serial=6)
    place = publisher.folder / ".." / publisher.folder.name
    if spelling == "through a link":
        place = tmp_path / "link"
        place.symlink_to(publisher.folder)
    request = publisher.request()
    respelled = replace(request.file, path=place / publisher.path.name)
    with pytest.raises(PublisherFileInvalid, match="serial") as caught:
        verify_publisher_file(replace(request, file=respelled))
    assert "serial 7 or higher" in caught.value.why


def test_old_file_with_its_old_bundle_is_refused(publisher: Publisher) -> None:
    old = (publisher.path.read_bytes(), publisher.bundle.read_bytes())
    publisher.read()
    publisher.state(serial=8)
    publisher.read()
    publisher.path.write_bytes(old[0])
    publisher.bundle.write_bytes(old[1])
    publisher.refused()


def test_other_file_with_the_same_serial_is_refused(publisher: Publisher) -> None:
    publisher.read()
    publisher.state(publishers=[])
    assert "another file with serial 7" in publisher.refused().why


def test_same_file_may_be_signed_again(publisher: Publisher) -> None:
    publisher.read()
    publisher.state()
    assert publisher.read().stated.serial == 7


def test_refused_file_does_not_raise_the_serial(publisher: Publisher) -> None:
    publisher.state(serial=9000, expires="2026-01-01")
    publisher.refused()
    publisher.state(serial=8)
    assert publisher.read().stated.serial == 8


def test_older_copy_elsewhere_is_refused_when_a_link_leads_to_it(publisher: Publisher) -> None:
    """As with `current ->`, or a Kubernetes ConfigMap: the link moves, not the file."""
    older, newer = (deploy(publisher, serial=serial) for serial in (6, 7))
    current = publisher.folder / "current"
    request = publisher.request(file=entry(current / publisher.path.name))

    current.symlink_to(newer)
    assert verify_publisher_file(request).stated.serial == 7
    current.unlink()
    current.symlink_to(older)

    with pytest.raises(PublisherFileInvalid) as caught:
        verify_publisher_file(request)
    assert "expected serial 7 or higher, as seen before of its signer" in caught.value.why


def test_newer_file_is_accepted_when_a_link_leads_to_it(publisher: Publisher) -> None:
    current = publisher.folder / "current"
    request = publisher.request(file=entry(current / publisher.path.name))
    for serial in (6, 7, 9):
        current.unlink(missing_ok=True)
        current.symlink_to(deploy(publisher, serial=serial))
        assert verify_publisher_file(request).stated.serial == serial


def deploy(publisher: Publisher, **changes: Any) -> Path:
    """A folder of its own with a signed file of publishers."""
    folder = publisher.folder / f"serial-{changes['serial']}"
    folder.mkdir()
    Publisher(publisher.domain, folder).state(**changes)
    return folder


def test_entry_for_another_place_does_not_begin_again(publisher: Publisher) -> None:
    publisher.read()
    older = deploy(publisher, serial=6) / publisher.path.name
    with pytest.raises(PublisherFileInvalid, match="not accepted") as caught:
        verify_publisher_file(publisher.request(file=entry(older)))
    assert "serial 7 or higher" in caught.value.why


def test_serials_of_two_signers_do_not_meddle(publisher: Publisher) -> None:
    publisher.read()
    grace = LeafIdentity("grace@local", LOCAL_ISSUER)
    publisher.sign(json.dumps(document(serial=1)).encode(), identity=grace)
    file = entry(publisher.path, identity="grace@local")
    assert publisher.read(file=file).stated.serial == 1
    publisher.state(serial=6)
    publisher.refused()


def test_serials_of_two_repositories_with_one_workflow_do_not_meddle(
    domain: LocalDomain, tmp_path: Path
) -> None:
    """Both sign with a reusable workflow, which is all that their identity says."""
    publisher, ref = Publisher(domain, tmp_path), "refs/heads/main"
    shared = f"https://github.com/acme/shared/.github/workflows/sign.yml@{ref}"
    build = CiIdentity("github", REPOSITORY, "123456", "789", WORKFLOW, ref, "github-hosted")
    one = replace(build, signer_workflow=shared)
    for stated in (one, replace(one, repository_id="654321")):
        identity = github_identity(ref, signer=shared, repository_id=stated.repository_id)
        serial = 7 if stated is one else 1
        publisher.sign(json.dumps(document(serial=serial)).encode(), identity=identity)
        issuer = CI_SERVICES["github"].issuer
        file = entry(publisher.path, identity="", issuer=issuer, ci=stated)
        assert publisher.read(file=file).stated.serial == serial


def test_files_that_their_signer_names_have_serials_of_their_own(publisher: Publisher) -> None:
    publisher.state(name="core")
    core = entry(publisher.path, "core")
    assert publisher.read(file=core).stated.name == "core"
    publisher.state(name="extra", serial=1)
    assert publisher.read(file=entry(publisher.path, "extra")).stated.serial == 1
    publisher.state(name="core", serial=6)
    assert "serial 7 or higher" in publisher.refused(file=core).why


@pytest.mark.parametrize(
    ("wanted", "name", "said"),
    [
        ("core", "extra", "expected name `core`\nfound    name `extra`"),
        ("core", None, "expected name `core`\nfound    name none"),
        ("", "extra", "expected name none\nfound    name `extra`"),
    ],
)
def test_another_file_of_the_same_signer_is_refused(
    publisher: Publisher, wanted: str, name: str | None, said: str
) -> None:
    """Put in the place of the one that is meant, it would take that one's rules away."""
    publisher.state(name=name)
    assert said in publisher.refused(file=entry(publisher.path, wanted)).why


def test_files_without_a_name_are_one_succession(publisher: Publisher) -> None:
    publisher.read()
    other = deploy(publisher, serial=8, publishers=[]) / publisher.path.name
    assert verify_publisher_file(publisher.request(file=entry(other))).stated.serial == 8
    error = publisher.refused()
    assert "serial 8 or higher" in error.why
    assert "gives each a `name`" in error.next[1]


def test_two_places_of_one_file_are_verified_once(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.read()
    copy = publisher.folder / "copy.json"
    copy.write_bytes(publisher.path.read_bytes())
    copy.with_name(copy.name + BUNDLE_SUFFIX).write_bytes(publisher.bundle.read_bytes())
    monkeypatch.setattr("aperio_cli.proving.signature.verify_signature", None)
    assert verify_publisher_file(publisher.request(file=entry(copy))).stated.serial == 7


@pytest.mark.parametrize("contents", [b"{", b'{"schema": 1, "files": {"/p.json": {"serial": 9}}}'])
def test_memory_of_an_earlier_aperio_is_not_read(publisher: Publisher, contents: bytes) -> None:
    publisher.memory.parent.mkdir(mode=0o700, parents=True)
    earlier = publisher.memory.with_name("publisher-files.json")
    earlier.write_bytes(contents)
    assert publisher.read().stated.serial == 7
    assert earlier.read_bytes() == contents


@pytest.mark.parametrize("contents", ["", "{", "[]", '{"schema": 1, "documents": []}'])
def test_damaged_memory_refuses(publisher: Publisher, contents: str) -> None:
    """It cannot be told any more what was seen."""
    publisher.read()
    publisher.memory.write_text(contents)
    error = publisher.refused()
    assert f"cannot be read\n{publisher.memory}: " in error.why
    assert error.next[0] == "bring that file back from a copy"


def test_memory_of_a_newer_aperio_refuses_and_stays(publisher: Publisher) -> None:
    publisher.read()
    publisher.memory.write_text('{"schema": 2, "documents": {}}')
    error = publisher.refused()
    assert f"cannot be read: `{publisher.memory}`" in error.why
    assert "a newer aperio made it\nexpected schema 1\nfound    schema 2" in error.why


@pytest.mark.parametrize("key", ["serial", "sha256", "evidence", "verified_at", "signer"])
def test_memory_that_lacks_something_refuses(publisher: Publisher, key: str) -> None:
    publisher.read()
    remembered = json.loads(publisher.memory.read_text())
    for known in remembered["documents"].values():
        del known[key]
    publisher.memory.write_text(json.dumps(remembered))
    error = publisher.refused()
    assert f"cannot be read\n{publisher.memory}: " in error.why
    assert error.next[0] == "bring that file back from a copy"


def test_memory_is_readable_by_its_owner_only(publisher: Publisher) -> None:
    publisher.read()
    assert publisher.memory.stat().st_mode & 0o777 == 0o600
    assert publisher.memory.parent.stat().st_mode & 0o777 == 0o700


def test_file_is_refused_where_it_cannot_be_remembered(publisher: Publisher) -> None:
    publisher.memory.parent.parent.mkdir()
    publisher.memory.parent.symlink_to("nowhere")
    assert "cannot be remembered" in publisher.refused().why


# ── remembered verification ───────────────────────────────────────────────────────────────────────


def test_unchanged_file_is_not_verified_again(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publisher.read()
    before = snapshot(publisher.memory)

    def again(*_: object, **__: object) -> None:
        pytest.fail("it was verified again")

    monkeypatch.setattr(signature, "verify_signature", again)
    assert publisher.read() == first
    assert snapshot(publisher.memory) == before


@pytest.mark.parametrize("what", ["file", "bundle", "entry", "root"])
def test_file_is_verified_again_when_something_changed(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    publisher.read()
    request = publisher.request()
    if what == "file":
        publisher.path.write_bytes(publisher.path.read_bytes() + b"\n")
    elif what == "bundle":
        publisher.bundle.write_bytes(publisher.bundle.read_bytes() + b"\n")
    elif what == "entry":
        request = replace(request, file=entry(publisher.path, issuer="https://else.example"))
    else:
        changed = replace(publisher.root, document=publisher.root.document + b"\n")
        request = replace(request, roots=(changed,))
    asked: list[object] = []

    def again(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise PublisherFileInvalid("as far as this test goes")

    monkeypatch.setattr(signature, "verify_signature", again)
    with pytest.raises(PublisherFileInvalid):
        verify_publisher_file(request)
    assert asked


def test_rules_come_from_the_file_and_not_from_memory(publisher: Publisher) -> None:
    publisher.read()
    assert "release@acme.example" not in publisher.memory.read_text()


# ── in a configuration ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def home(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose local domain signed the file, and whose configuration names it."""
    home = tmp_path / "operator"
    (home / "trust").mkdir(parents=True, mode=0o700)
    (home / "trust" / "local").symlink_to(publisher.domain.directory)
    home.joinpath("config.toml").write_text(
        f'[[publisher_files]]\nfile = "{publisher.path}"\ndomain = "local"\n'
        f'identity = "{IDENTITY}"\n'
        '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "eve@local"\n'
    )
    monkeypatch.setenv("APERIO_HOME", str(home))
    return home


def test_policy_takes_in_what_a_publisher_file_states(home: Path) -> None:
    policy = Context(Settings(home=str(home))).policy
    [rule] = policy.rules_for(PluginId("acme", "box"))
    assert (rule.identity, rule.tier) == ("release@acme.example", "verified")
    [other] = policy.rules_for(PluginId("globex", "box"))
    assert other.identity == "eve@local"


def test_policy_refuses_as_a_whole_when_a_publisher_file_does_not_count(
    home: Path, publisher: Publisher
) -> None:
    """Without it, `acme` would be open to whoever may sign for every namespace."""
    publisher.bundle.unlink()
    with pytest.raises(PublisherFileInvalid):
        _ = Context(Settings(home=str(home))).policy


def test_configuration_overrules_a_publisher_file(home: Path) -> None:
    with (home / "config.toml").open("a") as file:
        file.write(PERSON.replace("release@", "own@"))
    policy = Context(Settings(home=str(home))).policy
    assert [r.identity for r in policy.rules_for(PluginId("acme", "box"))] == ["own@acme.example"]


def test_policy_of_an_unchanged_file_imports_no_sigstore(home: Path) -> None:
    code = (
        "import sys; from aperio_cli.context import Context, Settings;"
        "rules = Context(Settings(home=sys.argv[1])).policy.publishers; assert len(rules) == 2;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'sigstore', 'cryptography'}))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(home)],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout.strip()
        for _ in range(2)
    ]  # fmt: skip
    assert said == ["['cryptography', 'sigstore']", "[]"]
