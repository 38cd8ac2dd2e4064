"""The log of a registry: how it grows, and what its readers hold it to."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aperio_cli.errors import REFUSED, AperioError
from aperio_cli.errors.registries import (
    PluginIdConfusing,
    RegistryLogContradicted,
    RegistryLogForked,
    RegistryLogUnproven,
    RegistrySourceInvalid,
    RegistryUnwitnessed,
)
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry.confusing import Looks, skeleton
from aperio_cli.models.registry.log_entry import (
    ACTIVE,
    REMOVED,
    ArtifactEntry,
    EntryUnreadable,
    OtherEntry,
    PublisherEntry,
    StatusEntry,
    digest_of,
    parse_entry,
    signer_digest,
)
from aperio_cli.models.registry.rule import WitnessRule
from aperio_cli.models.tlog.note import (
    COSIGNATURE,
    Checkpoint,
    NoteKey,
    NoteSignature,
    cosigned_message,
)
from aperio_cli.models.tlog.tiles import MAX_TILE_BYTES, TILE_WIDTH
from aperio_cli.net.together import read_together
from aperio_cli.publishing.recording import (
    RegistryLog,
    Statements,
    keep_log,
    log_files,
    read_log,
)
from aperio_cli.registry.log import LogReader
from tests.rows import each_row, for_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LINUX = Platform("linux", "amd64")
BOX = PluginId("acme", "box-connector")
SIGNER = signer_digest({"type": "public", "issuer": "https://issuer.example", "identity": "a@b"})
TREE = f"t1:{Digest.of(b'tree').hex}"


def entry(number: int = 0, plugin: PluginId = BOX, **changes: Any) -> ArtifactEntry:
    digest = Digest.of(f"{plugin} {number}".encode())
    found = ArtifactEntry(plugin, f"1.0.{number}", LINUX, digest, TREE, SIGNER)
    return replace(found, **changes)


def grown(*artifacts: ArtifactEntry, log: RegistryLog | None = None) -> RegistryLog:
    log = log or RegistryLog()
    log.extend(Statements(artifacts))
    return log


def lines(log: RegistryLog) -> list[dict[str, str]]:
    return [json.loads(each) for each in log.entries]


# ── growing ───────────────────────────────────────────────────────────────────────────────────────


def test_every_version_is_logged_once_and_building_again_adds_nothing() -> None:
    log = grown(entry(0), entry(1))
    assert [each["version"] for each in lines(log)] == ["1.0.0", "1.0.1"]
    before = log.checkpoint
    assert grown(entry(0), entry(1), log=log).checkpoint == before
    assert log.sizes == [2]
    grown(entry(0), entry(1), entry(2), log=log)
    assert (log.sizes, log.index_of(entry(2))) == ([2, 3], 2)
    assert log.checkpoint is not None
    assert log.checkpoint.origin == log.origin == before.origin  # type: ignore[union-attr]


def test_log_has_ids_and_digests_only() -> None:
    log = RegistryLog()
    status = {"state": "revoked", "reason": "leaks what Alice said", "at": "2026-01-01T00:00:00Z"}
    publisher = {"namespace": "acme", "contact": "alice@acme.example"}
    log.extend(
        Statements(
            (entry(),),
            (StatusEntry(BOX, "1.0.0", "revoked", digest_of(status)),),
            (PublisherEntry("acme", digest_of(publisher)),),
        )
    )
    text = b"\n".join(log.entries).decode()
    assert [each["entry"] for each in lines(log)] == ["publisher/v1", "artifact/v1", "status/v1"]
    assert not {word for word in ("Alice", "alice", "a@b", "issuer.example") if word in text}


def test_every_change_of_a_status_is_logged_and_so_is_its_end() -> None:
    log = grown(entry())
    yanked = StatusEntry(BOX, "1.0.0", "yanked", digest_of({"reason": "broken"}))
    other = replace(yanked, details=digest_of({"reason": "very broken"}))
    for statuses in ((yanked,), (yanked,), (other,), (), ()):
        log.extend(Statements((entry(),), statuses))
    assert [each.get("state") for each in lines(log)] == [None, "yanked", "yanked", ACTIVE]


def test_version_that_is_gone_is_logged_as_removed_and_may_come_back_as_it_was() -> None:
    log = grown(entry(0), entry(1))
    log.extend(Statements((entry(0),)))
    log.extend(Statements((entry(0),)))
    log.extend(Statements((entry(0), entry(1))))
    assert [each.get("state") for each in lines(log)] == [None, None, REMOVED, ACTIVE]


def test_every_edit_of_publishers_is_logged() -> None:
    log = RegistryLog()
    first, second = (PublisherEntry("acme", digest_of({"tier": tier})) for tier in ("a", "b"))
    for publishers in ((first,), (first,), (second,), (), ()):
        log.extend(Statements((), (), publishers))
    details = [each["details"] for each in lines(log)]
    assert [bool(each) for each in details] == [True, True, False]
    assert len(set(details)) == 3


@each_row(
    "changes",
    [
        {"digest": Digest.of(b"other")},
        {"tree": f"t1:{Digest.of(b'other').hex}"},
        {"tree": ""},
        {"signer": signer_digest({"type": "public", "identity": "evil@b"})},
    ],
    ids=["bytes", "tree", "tree-gone", "signer"],
)
def test_version_that_was_logged_never_becomes_another(changes: dict[str, Any]) -> None:
    log = grown(entry())
    before = log.checkpoint
    with pytest.raises(RegistryLogContradicted, match=r"1\.0\.0 for linux/amd64") as refused:
        grown(entry(**changes), log=log)
    assert refused.value.exit_status == REFUSED
    assert "entry 0 of the log" in refused.value.why
    assert log.checkpoint == before


def test_tree_that_was_not_stated_may_be_stated_later() -> None:
    log = grown(entry(tree=""))
    grown(entry(), log=log)
    grown(entry(), log=log)
    assert [each["tree"] for each in lines(log)] == ["", TREE]
    assert log.index_of(entry()) == 1


@each_row(
    ("known", "new"),
    [
        ("acme/box", "acme/b0x"), ("acme/b0x", "acme/box"), ("acme/all", "acme/a1l"),
        ("acme/term", "acme/terrn"), ("acme/my-box", "acme/my--box"),
        ("acme/box", "acrne/other"), ("m365/box", "rn365/mail"),
    ],
)  # fmt: skip
def test_id_that_looks_like_another_never_reaches_the_log(known: str, new: str) -> None:
    there = entry(plugin=PluginId.parse(known))
    log = grown(there)
    with pytest.raises(PluginIdConfusing, match="take it for") as refused:
        grown(there, entry(plugin=PluginId.parse(new)), log=log)
    assert refused.value.exit_status == REFUSED
    assert len(log.entries) == 1
    with pytest.raises(PluginIdConfusing):  # both new at once
        grown(there, entry(plugin=PluginId.parse(new)))
    # What differs plainly is taken, of the same namespace and of another.
    plain = [PluginId.parse(each) for each in ("acme/box-2", "acme-labs/box", "zeta/box")]
    assert len(grown(there, *(entry(plugin=each) for each in plain), log=log).entries) == 4


def test_lookalikes_are_those_of_the_unicode_table_within_ascii() -> None:
    assert skeleton("m0dern-1--x") == "rnodern-l-x"
    looks = Looks()
    assert [looks.take(name) for name in ("a0", "b", "a0", "ao", "b")] == [None] * 3 + ["a0", None]


# ── entries ───────────────────────────────────────────────────────────────────────────────────────


@each_row(
    "given",
    [
        entry(), entry(tree=""), StatusEntry(BOX, "1.0.0", REMOVED, None),
        StatusEntry(BOX, "1.0.0", "yanked", Digest.of(b"x")), PublisherEntry("acme", None),
        PublisherEntry("acme", Digest.of(b"x")), OtherEntry(b'{"entry":"vsa/v1"}'),
        OtherEntry(b"{}"),
    ],
)  # fmt: skip
def test_entry_comes_back(given: ArtifactEntry) -> None:
    assert parse_entry(given.to_bytes()) == given


@for_rows([
        (b'"acme/', b'"Acme/'), (b'"acme/box', b'"acm\xd0\xb5/box'), (b"{", b"{ "), (b"{", b"["),
        (b'"tree":"t1:', b'"tree":"t2:'), (b'"version":"1.0.0"', b'"version":"1.0"'),
        (b"linux/amd64", b"linux/amd65"), (b'"entry"', b'"more":"","entry"'), (b"}", b"}\n"),
        (b'"sha256":"', b'"sha256":"A'), (b'"id":', b'"id":"acme/x","id":'),
        (b'"signer":', b'"zigner":'), (b"}", b"," + b'"x":"' + b"x" * 70_000 + b'"}'),
    ])  # fmt: skip
def test_entry_in_another_form_is_refused(old: bytes, new: bytes) -> None:
    data = entry().to_bytes()
    assert parse_entry(data) == entry()
    assert old in data
    with pytest.raises(EntryUnreadable):
        parse_entry(data.replace(old, new, 1))


# ── in the source ─────────────────────────────────────────────────────────────────────────────────


def many(count: int) -> list[ArtifactEntry]:
    return [entry(number) for number in range(count)]


def test_log_is_kept_and_goes_on(tmp_path: Path) -> None:
    with Beneath(tmp_path) as root:
        assert read_log(root).checkpoint is None
        log = grown(*many(3))
        keep_log(root, log)
        again = read_log(root)
        assert (again.checkpoint, again.sizes) == (log.checkpoint, [3])
        grown(*many(5), log=again)
        keep_log(root, again)
        assert read_log(root).checkpoint == again.checkpoint
        # The same as if nothing had been read from anywhere.
        assert grown(*many(5), log=grown(*many(3))).checkpoint == again.checkpoint


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@each_row(
    ("file", "old", "new"),
    [
        ("entries.jsonl", '"version":"1.0.1"', '"version":"1.1.0"'),
        ("entries.jsonl", "\n", "\n\n"),
        ("entries.jsonl", '{"entry"', '"entry"'),
        ("log.json", '"size": 3', '"size": 4'),
        ("log.json", '"size": 3', '"size": 0'),
        ("log.json", '"size": 3', '"size": 2'),
        ("log.json", "aperio.registry.log/v1", "aperio.registry.log/v9"),
        ("log.json", '"origin"', '"original"'),
        ("log.json", "{", ""),
    ],
)
def test_log_that_was_changed_in_the_source_is_refused(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    with Beneath(tmp_path) as root:
        keep_log(root, grown(*many(3)))
        assert read_log(root).sizes == [3]
        _replace(tmp_path / "log" / file, old, new)
        with pytest.raises((RegistrySourceInvalid, AperioError)) as refused:
            read_log(root)
    assert "log" in refused.value.what + refused.value.why


def test_entries_beyond_the_last_checkpoint_are_in_no_build(tmp_path: Path) -> None:
    """A build that is killed between its two writes has not put anything in its place yet."""
    with Beneath(tmp_path) as root:
        keep_log(root, grown(*many(3)))
        before = (tmp_path / "log" / "log.json").read_bytes()
        log = read_log(root)
        keep_log(root, grown(*many(4), log=log))
        (tmp_path / "log" / "log.json").write_bytes(before)
        again = read_log(root)
        assert len(again.entries) == 3
        keep_log(root, grown(*many(5), log=again))
        after = read_log(root)
        assert [bytes(each) for each in after.entries] == [entry(n).to_bytes() for n in range(5)]


# ── read by others ────────────────────────────────────────────────────────────────────────────────


@dataclass
class Served:
    """A registry's folder, as far as the log is concerned."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def read(self, path: str, limit_bytes: int) -> bytes:
        self.asked.append(path)
        assert len(self.files[path]) <= limit_bytes
        return self.files[path]


def served(log: RegistryLog) -> Served:
    return Served(dict(log_files(log)))


def reader(log: RegistryLog, files: Served | None = None) -> LogReader:
    assert log.checkpoint is not None
    return LogReader("https://registry.example/", log.checkpoint, (files or served(log)).read)


@each_row("count", [1, 2, TILE_WIDTH, TILE_WIDTH + 1, 700])
def test_what_the_log_has_is_proved(count: int) -> None:
    log = grown(*many(count))
    for number in {0, count // 2, count - 1}:
        files = served(log)
        proof = reader(log, files).prove(entry(number), number)
        assert proof.check(entry(number).to_bytes()) == log.checkpoint
        assert len(files.asked) <= 3


@each_row(
    ("offered", "index"),
    [
        (entry(3, digest=Digest.of(b"evil")), 3),
        (entry(3, signer=Digest.of(b"evil")), 3),
        (entry(3, tree=f"t1:{Digest.of(b'evil').hex}"), 3),
        (entry(3), 4),
        (entry(3), None),
        (entry(3), 300),
        (entry(300), 300),
    ],
)
def test_what_the_log_does_not_have_is_refused(offered: ArtifactEntry, index: int | None) -> None:
    log = grown(*many(300))
    reader(log).prove(entry(3), 3)
    with pytest.raises(RegistryLogUnproven, match="is not proved to have it") as refused:
        reader(log).prove(offered, index)
    assert refused.value.exit_status == REFUSED


@pytest.mark.parametrize("path", ["log/tile/0/000", "log/tile/0/001.p/44"])
def test_tile_that_was_changed_on_the_way_is_no_fork(path: str) -> None:
    log = grown(*many(300))
    files = served(log)
    reader(log, files).prove(entry(3), 3)
    files.files[path] = bytes(len(files.files[path]))
    with pytest.raises(RegistryLogUnproven):
        reader(log, files).prove(entry(3), 3)
    for known in (grown(*many(100)), grown(*many(TILE_WIDTH - 1))):
        assert known.checkpoint is not None
        with pytest.raises(RegistryLogUnproven, match=r"not proved|files"):
            reader(log, files).follow(known.checkpoint)
    files.files[path] = files.files[path][:-1]
    with pytest.raises(RegistryLogUnproven) as refused:
        reader(log, files).prove(entry(3), 3)
    assert "has not" in refused.value.why


@each_row("before", [1, 2, 100, 255, 256, 257, 299])
def test_log_that_goes_on_is_followed_and_a_fork_is_refused(before: int) -> None:
    known = grown(*many(before)).checkpoint
    log = grown(*many(300), log=grown(*many(before)))
    assert known is not None
    reader(log).follow(known)
    forked = many(300)
    forked[before // 2] = entry(before // 2, digest=Digest.of(b"evil"))
    other = grown(*forked, log=RegistryLog(origin=log.origin))
    with pytest.raises(RegistryLogForked, match="seen before") as refused:
        reader(other).follow(known)
    assert refused.value.exit_status == REFUSED
    assert known.root.hex() in refused.value.why


def test_shorter_other_and_unlike_logs_are_refused() -> None:
    log = grown(*many(5))
    known = log.checkpoint
    assert known is not None
    reader(log).follow(known)
    shorter = grown(*many(4), log=RegistryLog(origin=log.origin))
    unlike = grown(*many(4), entry(9), log=RegistryLog(origin=log.origin))
    elsewhere = grown(*many(9), log=RegistryLog(origin="another log"))
    for other, why in ((shorter, "shorter"), (unlike, "other entries"), (elsewhere, "another log")):
        with pytest.raises(RegistryLogForked) as refused:
            reader(other).follow(known)
        assert why in refused.value.why


@dataclass
class Together(Served):
    """The same, asked for several files at once."""

    together: list[list[str]] = field(default_factory=list)

    def read_together(self, paths: Sequence[str], limit_bytes: int) -> dict[str, bytes | Exception]:
        self.together.append(list(paths))
        assert limit_bytes == MAX_TILE_BYTES
        return read_together(lambda path: self.files[path], paths)


def reader_together(log: RegistryLog, files: Together) -> LogReader:
    assert log.checkpoint is not None
    name = "https://registry.example/"
    return LogReader(name, log.checkpoint, files.read, files.read_together)


def test_tiles_of_a_proof_are_asked_for_together_and_once() -> None:
    log = grown(*many(TILE_WIDTH + 44))
    old = log.checkpoint
    assert old is not None
    grown(*many(700), log=log)
    files = Together(dict(log_files(log)))
    proving = reader_together(log, files)
    assert proving.prove(entry(300), 300) == reader(log).prove(entry(300), 300)
    assert files.together == [["log/tile/0/001", "log/tile/0/002.p/188", "log/tile/1/000.p/2"]]
    assert files.asked == []
    reader_together(log, files).follow(old)
    assert len(files.together[1]) > 1
    assert files.asked == []


def test_one_tile_alone_is_read_by_itself() -> None:
    log = grown(*many(3))
    files = Together(dict(log_files(log)))
    assert reader_together(log, files).prove(entry(1), 1).index == 1
    assert (files.together, len(files.asked)) == ([], 1)


def test_tile_that_cannot_be_read_beside_others_tells_why() -> None:
    log = grown(*many(700))
    files = Together(dict(log_files(log)))
    for path in [path for path in files.files if path.startswith("log/tile/0/")]:
        del files.files[path]
    with pytest.raises(KeyError, match="log/tile/"):
        reader_together(log, files).prove(entry(300), 300)
    assert (len(files.together), files.asked) == (1, [])


def test_readers_of_earlier_editions_find_their_tiles() -> None:
    log = RegistryLog()
    dice = random.Random(7)  # noqa: S311
    earlier = []
    count = 0
    while count < 600:
        count += dice.choice([1, 3, 40, 90])
        grown(*many(count), log=log)
        earlier.append(log.checkpoint)
    newest = served(log)
    for checkpoint in earlier[-4:]:
        assert checkpoint is not None
        old = LogReader("old", checkpoint, newest.read)
        old.prove(entry(0), 0)
        old.prove(entry(checkpoint.size - 1), checkpoint.size - 1)


# ── witnesses ─────────────────────────────────────────────────────────────────────────────────────

_SECRETS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)]
WITNESSES = tuple(
    NoteKey(f"witness.example/{n}", COSIGNATURE, secret.public_key().public_bytes_raw())
    for n, secret in enumerate(_SECRETS)
)


def cosign(checkpoint: Checkpoint, number: int, moment: int = 1_790_000_000) -> NoteSignature:
    signature = _SECRETS[number].sign(cosigned_message(checkpoint.text, moment))
    key = WITNESSES[number]
    return NoteSignature(key.name, key.key_id, moment.to_bytes(8, "big") + signature)


def test_witnesses_count_when_enough_of_them_signed() -> None:
    log = grown(*many(3))
    files = served(log)
    checkpoint = log.checkpoint
    assert checkpoint is not None
    signatures = [cosign(checkpoint, 0), cosign(checkpoint, 2, 1_790_000_005)]
    files.files["log/checkpoint"] = checkpoint.to_bytes(signatures)
    found = reader(log, files).require_witnesses(WitnessRule(WITNESSES, 2))
    assert found == {"witness.example/0": 1_790_000_000, "witness.example/2": 1_790_000_005}
    with pytest.raises(RegistryUnwitnessed, match="witnesses") as refused:
        reader(log, files).require_witnesses(WitnessRule(WITNESSES, 3))
    assert refused.value.exit_status == REFUSED
    assert "witness.example/1" in refused.value.why


def test_without_a_rule_nobody_is_asked() -> None:
    files = Served({})
    assert reader(grown(*many(1)), files).require_witnesses(WitnessRule()) == {}
    assert not files.asked


def test_signatures_of_another_checkpoint_do_not_count() -> None:
    log, earlier = grown(*many(3)), grown(*many(2)).checkpoint
    files, rule = served(log), WitnessRule(WITNESSES, 1)
    assert earlier is not None
    assert log.checkpoint is not None
    good = log.checkpoint.to_bytes([cosign(log.checkpoint, 0)])
    files.files["log/checkpoint"] = good
    assert reader(log, files).require_witnesses(rule)
    for forged in (
        earlier.to_bytes([cosign(earlier, 0)]),
        log.checkpoint.to_bytes([cosign(earlier, 0)]),
        log.checkpoint.to_bytes(),
        b"no checkpoint",
        good.replace(b"witness.example/0", b"witness.example/1"),
    ):
        files.files["log/checkpoint"] = forged
        with pytest.raises(RegistryUnwitnessed):
            reader(log, files).require_witnesses(rule)
