"""`aperio trust refresh` against real TUF repositories on this machine, honest and hostile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.trust import roots
from tests.lifecycle.cli import Aperio, finish, wait_until
from tests.lifecycle.plugins import artifact_of, simulating
from tests.trust import IDENTITY, new_domain
from tests.tuf_repository import TufRepository, endless, later, refusing, reply, serving
from tests.vendor_trust_roots import TRUST_ROOTS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

SIGNING_CONFIG = (TRUST_ROOTS / "staging" / "signing_config.json").read_bytes()
ROOT, CONFIG = "trusted_root.json", "signing_config.v0.2.json"


@dataclass
class Instance:
    """A private instance of Sigstore: what it vouches for, and who knows of it.

    Attributes:
        repository: its TUF repository, served at `url`.
        url: where.
        domain: whose trusted root it vouches for at first.
        aperio: an operator who has stated it as `acme`, and nothing else.
    """

    repository: TufRepository
    url: str
    domain: LocalDomain
    aperio: Aperio

    def refresh(self, *words: object, status: int = 0) -> Any:
        """The only root of a refresh of `acme`."""
        done = self.aperio("trust", "refresh", "acme", "--json", *words, status=status)
        return done.data["roots"][0] if not status else done.document["errors"][0]

    @property
    def copy(self) -> Path:
        """The root in use."""
        return self.aperio.home / "trust" / "roots" / "acme.json"

    def root_in_use(self) -> dict[str, Any]:
        """What `doctor` says about the domain."""
        found = self.aperio.type("doctor", "--json").data["trusted_roots"]
        named: dict[str, Any] = next(root for root in found if root["name"] == "acme")
        return named

    def vouch(self, **changes: Any) -> None:
        """Vouch for the trusted root with other members, from the next publication on."""
        document = json.loads(self.repository.targets[ROOT])
        self.repository.targets[ROOT] = json.dumps(document | changes).encode()

    def refuses(self, *, code: str, status: int) -> Any:
        """A refresh that has to fail; the root in use stays what it was."""
        before = self.copy.read_bytes() if self.copy.exists() else b""
        error = self.refresh(status=status)
        assert error["code"] == code, error
        assert error["next"]
        assert "`acme` was not refreshed" in error["what"]
        assert (self.copy.read_bytes() if self.copy.exists() else b"") == before
        return error


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("instance"))


@pytest.fixture
def acme(stranger: Aperio, domain: LocalDomain) -> Iterator[Instance]:
    repository = TufRepository()
    repository.targets = {ROOT: domain.trusted_root_json().encode(), CONFIG: SIGNING_CONFIG}
    repository.publish()
    with serving(repository) as url:
        state_domain(stranger, url, repository.first_root)
        yield Instance(repository, url, domain, stranger)


def state_domain(aperio: Aperio, url: str, first_root: bytes, name: str = "acme") -> None:
    """State a domain over TUF in the operator's configuration."""
    aperio.home.mkdir(mode=0o700, exist_ok=True)
    root = aperio.folder / f"{name}-root.json"
    root.write_bytes(first_root)
    with (aperio.home / "config.toml").open("a") as file:
        file.write(f'[[domains]]\nname = "{name}"\ntuf = "{url}"\ntuf_root = "{root}"\n')


# ── what it brings ────────────────────────────────────────────────────────────────────────────────


def test_first_refresh_brings_the_root_and_says_what_is_in_it(acme: Instance) -> None:
    assert "nothing was got yet" in acme.root_in_use()["problem"]

    found = acme.refresh()

    assert (found["before"], found["url"]) == ("", acme.url)
    assert found["versions"] == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert {change["what"] for change in found["changes"]} == {"added"}
    assert "log https://log.local.aperio.invalid" in str(found["changes"])
    in_use = acme.root_in_use()
    assert (in_use["origin"], in_use["age_days"], in_use["problem"]) == ("refreshed", 0, "")
    assert in_use["as_of"] == found["as_of"]


def test_failure_of_one_domain_tells_what_came_of_the_others(acme: Instance) -> None:
    with serving(TufRepository()) as empty:
        state_domain(acme.aperio, empty, acme.repository.first_root, "wrong")
        done = acme.aperio("trust", "refresh", "wrong", "acme", "--json", status=3)
    (error,) = done.document["errors"]
    assert error["what"].startswith("`wrong` was not refreshed")
    assert error["why"].endswith("refreshed: `acme`")
    assert acme.root_in_use()["origin"] == "refreshed"


def test_second_refresh_changes_nothing_but_the_date(acme: Instance) -> None:
    first = acme.refresh()
    acme.repository.asked.clear()

    second = acme.refresh()

    assert (second["changes"], second["before"]) == ([], first["as_of"])
    assert acme.repository.asked == ["/2.root.json", "/timestamp.json"]


def test_refresh_says_which_authority_has_ended(acme: Instance) -> None:
    acme.refresh()
    document = json.loads(acme.repository.targets[ROOT])
    [log] = document["tlogs"]
    log["publicKey"]["validFor"] |= {"end": "2099-01-01T00:00:00Z"}
    acme.vouch(tlogs=[log])
    acme.repository.publish()

    shown = acme.aperio("trust", "refresh", "acme").out

    assert "  ended log https://log.local.aperio.invalid (key " in shown
    assert "(until 2099-01-01T00:00:00Z)" in shown


def test_refresh_without_a_signing_config_is_enough_to_verify(acme: Instance) -> None:
    del acme.repository.targets[CONFIG]
    acme.repository.publish()

    acme.refresh()

    assert acme.root_in_use()["problem"] == ""


def test_each_domain_keeps_its_own_root(acme: Instance, tmp_path: Path) -> None:
    other = TufRepository()
    other.targets = {ROOT: new_domain(tmp_path / "other").trusted_root_json().encode()}
    other.publish()
    with serving(other) as url:
        state_domain(acme.aperio, url, other.first_root, "umbrella")

        done = acme.aperio("trust", "refresh", "umbrella", "acme", "umbrella", "--json")

    assert [root["name"] for root in done.data["roots"]] == ["umbrella", "acme"]
    found = {path.name: path.read_bytes() for path in acme.copy.parent.glob("*.json")}
    assert sorted(found) == ["acme.json", "umbrella.json"]
    assert found["acme.json"] != found["umbrella.json"]


def test_one_repository_that_fails_does_not_keep_the_others_back(acme: Instance) -> None:
    other = TufRepository()
    with serving(other) as url:
        state_domain(acme.aperio, url, other.first_root, "umbrella")

        done = acme.aperio("trust", "refresh", "umbrella", "acme", status=4)

    assert "`umbrella` was not refreshed: its repository has no trusted root" in done.err
    assert "acme: as of " in done.err
    assert acme.copy.exists()


def test_refresh_without_names_is_about_public_and_what_is_stated(
    acme: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "trust_roots"
    shutil.copytree(TRUST_ROOTS, shipped)
    (shipped / "public" / "tuf_root.json").write_bytes(acme.repository.first_root)
    facts = json.loads((shipped / "metadata.json").read_text())
    facts["domains"]["public"] |= {"url": acme.url, "tuf_root_version": 1}
    (shipped / "metadata.json").write_text(json.dumps(facts))
    monkeypatch.setattr(roots, "_SHIPPED", shipped)

    done = acme.aperio("trust", "refresh", "--json")

    public, stated = done.data["roots"]
    assert (public["name"], stated["name"]) == ("public", "acme")
    assert public["before"] == facts["domains"]["public"]["as_of"]
    assert {change["what"] for change in public["changes"]} == {"added", "removed"}
    # The repository ended what the shipped root trusts: damage must not bring that back.
    copy = acme.aperio.home / "trust" / "roots" / "public.json"
    copy.write_bytes(b"{")
    [damaged] = [
        root
        for root in acme.aperio("doctor", "--json", status=1).data["trusted_roots"]
        if root["name"] == "public"
    ]
    assert (damaged["origin"], str(copy) in damaged["problem"]) == ("refreshed", True)
    assert "`aperio trust refresh public`" in acme.aperio("doctor", status=1).out

    acme.aperio("trust", "refresh", "public")
    assert "cannot be used" not in acme.aperio("doctor").out


def test_what_was_signed_in_a_domain_is_verified_after_its_root_was_got(acme: Instance) -> None:
    aperio, signing_home = acme.aperio, acme.domain.directory.parents[1]
    artifact = artifact_of(aperio.folder / "dist", simulating("drips"))
    aperio("plugin", "sign", artifact, "--trust", "local", "--home", signing_home)
    with (aperio.home / "config.toml").open("a") as file:
        file.write(
            '[[publishers]]\nnamespace = "acme"\ndomain = "acme"\n'
            f'identity = "{IDENTITY}"\nissuer = "{LOCAL_ISSUER}"\n'
        )
    before = aperio.refuses("plugin", "verify", artifact, code="trust-root-invalid", status=3)

    acme.refresh()

    assert "get it: `aperio trust refresh acme`" in before.shown
    assert aperio("plugin", "verify", artifact, "--json").data["signer"]["domain"] == "acme"


# ── the root of the repository itself ─────────────────────────────────────────────────────────────


def test_first_root_that_has_expired_leads_to_the_newer_one(stranger: Aperio) -> None:
    repository = TufRepository()
    repository.expires["root"] = later(-2)
    repository.publish_root()
    expired = repository.served["/2.root.json"]
    repository.expires["root"] = later(7)
    repository.publish_root()
    repository.targets = {ROOT: new_domain(stranger.folder).trusted_root_json().encode()}
    repository.publish()
    with serving(repository) as url:
        state_domain(stranger, url, expired)

        found = stranger("trust", "refresh", "acme", "--json").data["roots"][0]

    assert found["versions"]["root"] == 3


def test_first_root_that_has_expired_is_refused_when_there_is_no_newer_one(
    acme: Instance,
) -> None:
    acme.repository.expires["root"] = later(-1)
    acme.repository.publish_root()

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert "root.json is expired" in error["why"]


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_new_keys_are_followed_when_the_root_names_them(acme: Instance, role: str) -> None:
    acme.refresh()
    acme.repository.publish_root(new_keys=(role,))
    acme.repository.publish()

    found = acme.refresh()

    assert found["versions"] == {"root": 2, "timestamp": 3, "snapshot": 3, "targets": 3}


@pytest.mark.parametrize("status", [403, 404])
def test_root_that_is_not_there_yet_may_be_answered_so(acme: Instance, status: int) -> None:
    acme.repository.answers["/2.root.json"] = refusing(status)

    assert acme.refresh()["versions"]["root"] == 1


def test_root_signed_by_its_own_keys_only_is_refused(acme: Instance) -> None:
    acme.refresh()
    stranger = TufRepository()
    stranger.publish_root()
    acme.repository.served["/2.root.json"] = stranger.served["/2.root.json"]

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert "UnsignedMetadataError" in error["why"]


def test_another_first_root_starts_again(acme: Instance) -> None:
    acme.refresh()
    other = TufRepository()
    other.targets = dict(acme.repository.targets)
    other.publish()
    acme.repository.served = other.served
    (acme.aperio.folder / "acme-root.json").write_bytes(other.first_root)

    assert "nothing was got yet" in acme.root_in_use()["problem"]
    acme.refresh()
    assert acme.root_in_use()["problem"] == ""


# ── hostile repositories ──────────────────────────────────────────────────────────────────────────


def roll_back(repository: TufRepository) -> None:
    """An old timestamp and all that hangs from it, all rightly signed."""
    repository.versions |= {"timestamp": 1, "snapshot": 2, "targets": 2}
    repository.publish_timestamp()


def roll_back_snapshot(repository: TufRepository) -> None:
    """A new timestamp that names the snapshot before the last."""
    repository.versions["snapshot"] -= 1
    repository.publish_timestamp()


def freeze(repository: TufRepository) -> None:
    repository.expires["timestamp"] = later(-0.01)
    repository.publish_timestamp()


def expire_targets(repository: TufRepository) -> None:
    repository.expires["targets"] = later(-1)
    repository.publish()


def mix_and_match(repository: TufRepository) -> None:
    """Yesterday's targets under today's snapshot."""
    yesterday = repository.served[f"/{repository.versions['targets']}.targets.json"]
    repository.publish()
    repository.served[f"/{repository.versions['targets']}.targets.json"] = yesterday


def tamper(repository: TufRepository) -> None:
    """Another trusted root at the address of the one that it vouches for."""
    repository.targets[ROOT] += b" "
    repository.publish()
    repository.served[repository.path_of(ROOT)] = repository.targets[ROOT][:-1] + b"\n"


def sign_with_another_key(repository: TufRepository) -> None:
    repository.keys["timestamp"] = TufRepository().keys["timestamp"]
    repository.publish_timestamp()


def never_end(path: str) -> Callable[[TufRepository], None]:
    def arrange(repository: TufRepository) -> None:
        repository.targets[ROOT] += b" "
        repository.publish()
        place = path or repository.path_of(ROOT)
        repository.answers[place] = endless

    return arrange


def vouch_for_much(repository: TufRepository) -> None:
    repository.targets[ROOT] += b" " * (1024 * 1024 + 1)
    repository.publish()


def serve_nonsense(repository: TufRepository) -> None:
    repository.served["/timestamp.json"] = b'{"signed": 5}'


def serve_depth(repository: TufRepository) -> None:
    repository.served["/timestamp.json"] = b"[" * 10_000


@pytest.mark.parametrize(
    ("attack", "evidence"),
    [
        (roll_back, "BadVersionNumberError"),
        (roll_back_snapshot, "BadVersionNumberError"),
        (freeze, "timestamp.json is expired"),
        (expire_targets, "ExpiredMetadataError"),
        (mix_and_match, "BadVersionNumberError"),
        (tamper, "LengthOrHashMismatchError"),
        (sign_with_another_key, "UnsignedMetadataError"),
        (never_end("/2.root.json"), "1048576"),
        (never_end("/timestamp.json"), "16384"),
        (never_end(""), "expected at most"),
        (vouch_for_much, "expected at most 1048576 bytes"),
        (serve_nonsense, "DeserializationError"),
        (serve_depth, "Error"),
    ],
)
def test_hostile_repository_is_refused(
    acme: Instance, attack: Callable[[TufRepository], None], evidence: str
) -> None:
    acme.repository.publish()
    acme.refresh()
    attack(acme.repository)

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert evidence in error["why"], error


def test_rollback_is_refused_when_the_client_has_lost_its_metadata(acme: Instance) -> None:
    acme.repository.publish()
    acme.refresh()
    shutil.rmtree(acme.aperio.home / "trust" / "tuf")
    roll_back(acme.repository)

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert "rollback" in error["what"]


def test_damaged_metadata_of_the_client_heals(acme: Instance) -> None:
    acme.refresh()
    state = acme.aperio.home / "trust" / "tuf" / "acme"
    for path in state.rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")

    assert acme.refresh()["changes"] == []


# ── documents that it must not vouch for ──────────────────────────────────────────────────────────

GONE = [{"validFor": {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}}]


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"certificateAuthorities": []}, "trusts no certificateAuthorities"),
        ({"ctlogs": []}, "trusts no ctlogs"),
        ({"tlogs": []}, "trusts no tlogs"),
        ({"certificateAuthorities": GONE}, "trusts no certificateAuthorities"),
        ({"mediaType": "application/vnd.dev.sigstore.trustedroot.v0.9+json"}, "cannot be"),
        ({"tlogs": "none"}, ""),
        ({"unknown": 1}, ""),
    ],
)
def test_root_that_sigstore_cannot_use_is_refused(
    acme: Instance, changes: dict[str, Any], evidence: str
) -> None:
    acme.refresh()
    acme.vouch(**changes)
    acme.repository.publish()

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert evidence in f"{error['what']} {error['why']}"


def test_signing_config_that_cannot_be_read_is_refused(acme: Instance) -> None:
    acme.refresh()
    acme.repository.targets[CONFIG] = b'{"mediaType": "nonsense"}'
    acme.repository.publish()

    assert "signing config" in acme.refuses(code="trust-refresh-refused", status=3)["why"]


# ── the network ───────────────────────────────────────────────────────────────────────────────────


def test_offline_is_refused_before_anything_is_asked_or_written(acme: Instance) -> None:
    refused = acme.aperio.refuses("trust", "refresh", "acme", "--offline", code="offline", status=4)

    assert "verification needs no network" in refused.next[0]
    assert acme.repository.asked == []


def test_repository_that_does_not_answer_is_unavailable(acme: Instance) -> None:
    acme.refresh()
    acme.repository.answers["/timestamp.json"] = refusing(503)

    error = acme.refuses(code="trust-refresh-failed", status=4)

    assert "503" in error["why"]
    assert "verification goes on without" in error["next"][0]


@pytest.mark.parametrize("status", [403, 404])
def test_repository_without_a_timestamp_is_unavailable(acme: Instance, status: int) -> None:
    acme.repository.answers["/timestamp.json"] = refusing(status)

    assert str(status) in acme.refuses(code="trust-refresh-failed", status=4)["why"]


def send_elsewhere(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://tuf.acme.example/timestamp.json")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_repository_that_leads_off_this_machine_is_refused(acme: Instance) -> None:
    acme.repository.answers["/timestamp.json"] = send_elsewhere

    error = acme.refuses(code="trust-refresh-refused", status=3)

    assert "http://tuf.acme.example/timestamp.json" in error["why"]


@pytest.mark.parametrize("name", ["local", "nonsense"])
def test_name_that_is_no_repository_is_a_usage_error(acme: Instance, name: str) -> None:
    acme.aperio.refuses("trust", "refresh", "acme", name, code="usage", status=2)

    assert acme.repository.asked == []


# ── interrupted, and two at once ──────────────────────────────────────────────────────────────────


@dataclass
class Stall:
    """An answer that waits until the test lets it go on."""

    body: bytes

    def __post_init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.set()
        self.released.wait(30)
        reply(handler, 200, self.body)


def stall(acme: Instance, path: str) -> Stall:
    made = Stall(acme.repository.served[path])
    acme.repository.answers[path] = made
    return made


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("target", ["timestamp", "root"])
def test_interrupted_refresh_leaves_the_root_in_use_and_can_be_repeated(
    acme: Instance, sent: signal.Signals, target: str
) -> None:
    acme.refresh()
    before = acme.copy.read_bytes()
    acme.repository.targets[ROOT] += b"\n"
    acme.repository.publish()
    place = "/timestamp.json" if target == "timestamp" else acme.repository.path_of(ROOT)
    held = stall(acme, place)
    process = acme.aperio.start("trust", "refresh", "acme")
    try:
        assert held.asked.wait(30)
        os.killpg(process.pid, sent)
        done = finish(process)
    finally:
        held.released.set()

    assert done.status in {128 + sent, 130}
    assert acme.copy.read_bytes() == before
    assert acme.root_in_use()["problem"] == ""
    acme.repository.answers.clear()
    assert acme.refresh()["versions"]["targets"] == 3


def test_two_refreshes_at_once_wait_for_each_other(acme: Instance) -> None:
    held = stall(acme, "/timestamp.json")
    first = acme.aperio.start("trust", "refresh", "acme", "--json")
    second: subprocess.Popen[bytes] | None = None
    try:
        assert held.asked.wait(30)
        held.asked.clear()
        second = acme.aperio.start("trust", "refresh", "acme", "--json")
        # The lock file is open in both, and only the first has asked.
        lock = acme.aperio.home / "trust" / "refresh.lock"
        assert wait_until(lambda: lock in open_files(second), within_s=30)
        assert not held.asked.is_set()
    finally:
        held.released.set()

    assert [finish(process).status for process in (first, second)] == [0, 0]
    assert acme.root_in_use()["problem"] == ""


def open_files(process: subprocess.Popen[bytes]) -> list[Path]:
    """What a living process has open."""
    from pathlib import Path

    folder = Path(f"/proc/{process.pid}/fd")
    try:
        return [entry.readlink() for entry in folder.iterdir()]
    except FileNotFoundError:
        return []


# ── damage, as people meet it ─────────────────────────────────────────────────────────────────────


def test_damaged_copy_stands_in_nobodys_way_when_another_domain_proves_it(aperio: Aperio) -> None:
    artifact = artifact_of(aperio.folder / "dist", simulating("drips"))
    aperio("plugin", "sign", artifact, "--trust", "local")
    damaged = aperio.home / "trust" / "roots" / "public.json"
    damaged.parent.mkdir(mode=0o700)
    damaged.write_bytes(b"{")

    aperio("plugin", "verify", artifact)

    told = aperio("doctor", status=1).out
    assert told.count(str(damaged)) == 1
    assert "`aperio trust refresh public`" in told


def test_old_root_is_told_by_doctor_when_it_matters(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = json.loads((TRUST_ROOTS / "metadata.json").read_text())["domains"]["public"]["as_of"]
    moment = datetime.fromisoformat(shipped)

    def warned(days: int) -> str:
        monkeypatch.setattr(clock, "now", lambda: moment + timedelta(days=days, minutes=1))
        return aperio("doctor").err

    assert "trusted root" not in warned(180)
    late = warned(181)
    assert "the trusted root `public` is 181 days old: `aperio trust refresh public`" in late
    assert "staging" not in late
