"""What 0.1.0 wrote is read by every later version, and says what it said then.

The records are never made again (tests/assets/0.1.0/make.py made them). Later versions may say more
about them, or keep them in another way; what is pinned here stays true.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.config import Config
from aperio_cli.data.state import Item, Slice, StateDatabase
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.paths import Paths
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import TrustedRootSource, verify_signature
from aperio_cli.publishing.source import open_source
from aperio_cli.registry import open_registry
from aperio_cli.store.installed import Store
from tests.builders import LINUX
from tests.records import ASSETS, ask, restore

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = ASSETS / "0.1.0"
HELLO = "acme/hello-connector"
ARTIFACT = Digest.parse("sha256:b107de248a34000627f8ff0b744f9210045cdb5cd99dc4d73802db7c90998a30")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return restore("0.1.0", tmp_path / "restored")


def paths_of(folder: Path) -> Paths:
    home = folder / "home"
    return Paths(home, home / "config.toml", home / "cache")


def missing(then: Any, now: Any, where: str = "") -> list[str]:
    """The places where something that was said is not said any more."""
    if isinstance(then, dict) and isinstance(now, dict):
        inner = [missing(then[key], now.get(key), f"{where}.{key}") for key in then]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = zip(then, now, strict=True)
        inner = [missing(old, new, f"{where}[{n}]") for n, (old, new) in enumerate(pairs)]
    else:
        return [] if then == now else [f"{where}: {then!r}, now {now!r}"]
    return [place for places in inner for place in places]


def test_commands_say_all_that_they_said_then(folder: Path) -> None:
    then = json.loads((RECORDS / "said.json").read_bytes())
    assert missing(then, ask(folder)) == []


def test_what_was_said_then_names_every_kind_of_record() -> None:
    """The other test cannot pass by an empty page."""
    then = json.loads((RECORDS / "said.json").read_bytes())
    assert [(p["id"], p["badge"], p["problem"]) for p in then["list"]["plugins"]] == [
        (HELLO, "local", None),
        ("acme/remediation", "unsigned", None),
        ("aperio/jsonl-file", "local", None),
    ]
    assert then["connector"]["signer"]["identity"] == "alice@local"
    assert then["remediation"]["exceptions"]
    assert [rule["namespace"] for rule in then["trust"]["publishers"]] == [
        "*",
        "acme",
        "globex",
        "initech",
    ]
    assert [domain["name"] for domain in then["trust"]["domains"]] == [
        "local",
        "internal",
        "instance",
    ]


def test_receipts_keep_manifest_and_interpreter(folder: Path) -> None:
    receipt = Store(paths_of(folder)).get(PluginRef.parse(HELLO))
    assert (receipt.version, receipt.protocol, receipt.manifest.provider) == (
        "0.1.0",
        (1, 0),
        "HELLO",
    )
    assert receipt.artifact_digest == ARTIFACT
    assert receipt.interpreter is not None
    assert receipt.interpreter.executable == "/usr/bin/python3.11"
    written = json.loads((receipt.folder / "receipt.json").read_bytes())
    assert written["manifest"]["permissions"]["egress"] == ["api.example.com:443"]
    go = Store(paths_of(folder)).get(PluginRef.parse("aperio/jsonl-file"))
    assert (go.kind, go.interpreter) == ("destination", None)


def test_the_state_keeps_checkpoint_and_value(folder: Path) -> None:
    with StateDatabase(folder / "home" / "state.db") as state:
        checkpoint = state.checkpoint(Slice(HELLO, "local", "local"))
        item = state.get(Slice("acme/remediation", "local", "local"), "done/u1")
    assert checkpoint is not None
    assert (checkpoint.cursor, checkpoint.version) == (b"3", "0.1.0")
    assert item == Item(b"suspended", 1)


def test_bundles_still_prove_what_they_proved(folder: Path) -> None:
    home = folder / "home"
    root = TrustedRootSource("local", (home / "trust/local/trusted_root.json").read_bytes())
    installed = home / "plugins" / HELLO / "0.1.0"
    proof = verify_signature(ARTIFACT, (installed / "artifact.sigstore.json").read_bytes(), [root])
    assert proof.signer.identity == "alice@local"
    statements = (installed / "artifact.intoto.jsonl").read_bytes()
    assert len(verify_attestations(ARTIFACT, statements, [root])) == 2


def test_a_registrys_source_and_its_index_are_read(folder: Path) -> None:
    with open_source(folder / "registry") as source:
        record = source.record(PluginId.parse(HELLO))
        serial = source.edition().serial
    assert record is not None
    assert [(v.version, v.artifacts[0].digest) for v in record.versions] == [("0.1.0", ARTIFACT)]
    assert serial == 2
    public = str(folder / "registry" / "public")
    registry = open_registry(public, Config(), paths_of(folder), offline=True)
    assert registry.resolve(PluginRef.parse(HELLO), LINUX).digest == ARTIFACT


# Who issued tokens, what formats are called, and addresses that lead nowhere.
NAMED_HOSTS = re.compile(
    rb"https?://(?:[a-z.]+\.(?:invalid|example)|127\.0\.0\.1|github\.com|slsa\.dev"
    rb"|cyclonedx\.org|token\.actions\.githubusercontent\.com)(?![\w.-])"
)


def test_the_records_name_neither_the_machine_nor_a_service_on_the_internet() -> None:
    places = re.compile(rb"/root/|/tmp/|(?<!aperio)/home/|https?://")
    read = 0
    for path in RECORDS.rglob("*"):
        if path.is_file() and path.suffix != ".py":
            read += 1
            assert not places.search(NAMED_HOSTS.sub(b"", path.read_bytes())), path
    assert read
