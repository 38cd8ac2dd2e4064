from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.archive import unpacking, writing
from aperio_cli.errors.files import DiskFull, FilesChanged, FileTooLarge
from aperio_cli.errors.installing import (
    BytecodeFailed,
    InterpreterMissing,
    NotInstalled,
    PluginInUse,
    ReceiptInvalid,
    SignerChanged,
    VersionChanged,
)
from aperio_cli.errors.trust import ProvenanceMissing
from aperio_cli.files import tree
from aperio_cli.files import writing as files_writing
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.installing import (
    InstallReport,
    InstallRequest,
    bytecode,
    install,
    preparing,
    succession,
)
from aperio_cli.machine import interpreters
from aperio_cli.machine.interpreters import choose_interpreter, find_interpreters, probe
from aperio_cli.models.artifact import Artifact, Interpreter
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted, Verified, proof_of
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.proof import SBOM_TYPE, RootFacts
from aperio_cli.models.publisher import CI_SERVICES
from aperio_cli.models.receipt import Receipt
from aperio_cli.signing import sign
from aperio_cli.store.current import Current
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace
from tests.builders import (
    LINUX,
    TAG,
    Machine,
    build_rule,
    go_members,
    manifest,
    offer,
    python_members,
    rule,
    snapshot,
    unchanged,
    write_artifact,
)
from tests.killing import die, files_of, left_at_each_line, stopped_at
from tests.rows import each_row, for_rows
from tests.trust import (
    HOSTED_BUILDER,
    REPOSITORY,
    WORKFLOW,
    Forge,
    attestations,
    github_identity,
    new_domain,
    provenance,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.verifying.decide import AdmittedArtifact

BOX = PluginId("acme", "box-connector")
GRANTED = ExceptionGranted("unsigned", "2099-01-01", "trying it out")
BOTH = Policy((rule(), rule(identity="bob@local")))


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    return Machine(tmp_path, domain)


def python_at(folder: Path, answer: str, name: str = "python3.11") -> str:
    """A program that answers the probe with whatever a test wants."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    path.chmod(0o755)
    return str(path)


def answer(**changes: Any) -> str:
    right = {
        "executable": "/opt/python3.11",
        "version": "3.11.7",
        "implementation": "cpython",
        "abiflags": "",
        "base_prefix": "/opt",
        "system": "linux",
        "libc": "glibc 2.36",
    }
    return json.dumps(right | changes)


def prepared(machine: Machine) -> Path:
    """The home of a machine on which something was installed before and removed again."""
    files_writing.ensure_own(machine.paths.home)
    files_writing.ensure_own(machine.paths.plugins)
    return machine.paths.home


def signed_by(report: InstallReport) -> str:
    proof = proof_of(report.receipt.evidence)
    assert proof is not None
    return proof.signer.identity


# ── what is installed ─────────────────────────────────────────────────────────────────────────────


def test_install_lays_the_version_out_as_the_design_says(machine: Machine) -> None:
    path = machine.signed()
    receipt = machine.install(path).receipt
    assert receipt.folder == machine.paths.home / "plugins/acme/box-connector/1.2.3"
    assert sorted(p.name for p in receipt.folder.iterdir()) == [
        "artifact.sigstore.json",
        "files",
        "files.sha256",
        "receipt.json",
    ]
    bundle = path.with_name(path.name + ".sigstore.json").read_bytes()
    assert (receipt.folder / "artifact.sigstore.json").read_bytes() == bundle
    assert receipt.tree_digest == tree.tree_digest((receipt.folder / "files.sha256").read_bytes())
    machine.store.check(receipt)


def test_install_writes_a_receipt_that_reads_back(machine: Machine) -> None:
    receipt = machine.install(machine.signed()).receipt
    assert machine.store.get(PluginRef(BOX)) == receipt
    data = (receipt.folder / "receipt.json").read_bytes()
    assert Receipt.parse(data, receipt.folder) == receipt
    assert isinstance(receipt.evidence, Verified)
    assert receipt.evidence.signer.identity == "alice@local"
    assert receipt.evidence.rule == rule(stated_in="")
    assert (receipt.badge, receipt.interpreter) == ("local", None)
    assert receipt.manifest == manifest()


def test_install_takes_what_the_signing_stage_signed(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist", python_members())
    declared = manifest(runtime={"language": "python", "tags": [TAG]})
    digest = Digest.of(path.read_bytes())
    sign([Artifact(path, digest, path.stat().st_size, declared, LINUX)], domain=machine.domain)
    receipt = machine.install(path).receipt
    assert (receipt.badge, receipt.artifact_digest) == ("local", digest)


def test_install_keeps_what_the_bundle_and_the_attestations_proved(machine: Machine) -> None:
    path = machine.attest(machine.signed())
    receipt = machine.install(path).receipt
    proof = proof_of(receipt.evidence)
    assert proof is not None
    assert (proof.form, proof.root.name) == ("signature", "local")
    assert proof.log_entry is not None
    assert proof.log_entry.index < proof.log_entry.tree_size
    [attested] = proof.attestations
    assert attested.provenance is not None
    assert attested.provenance.builder == HOSTED_BUILDER
    kept = (receipt.folder / "artifact.intoto.jsonl").read_bytes()
    assert kept == path.with_name(path.name + ".intoto.jsonl").read_bytes()
    assert machine.store.get(PluginRef(BOX)).evidence == receipt.evidence


def test_install_keeps_the_edition_of_the_index_that_offered_it(machine: Machine) -> None:
    path = machine.signed()
    bundle = path.with_name(path.name + ".sigstore.json").read_bytes()
    digest = Digest.of(path.read_bytes())
    stated = offer(location=str(path), digest=digest, bundle=bundle, index_serial=7)
    with machine.verify(stated) as admitted:
        install(admitted, machine.store, InstallRequest())
    assert machine.store.get(PluginRef(BOX)).index_serial == 7


def test_install_keeps_a_further_exception_in_sight(machine: Machine) -> None:
    lifted = PolicyException(BOX, "", "unverified", "2099-01-01", "audit pending", "config.toml")
    strict = Policy((rule(),), require="verified", exceptions=(lifted,))
    report = machine.but(policy=strict).install(machine.signed())
    assert report.to_json()["exceptions"] == [lifted.to_json()]
    assert machine.store.get(PluginRef(BOX)).exceptions == (replace(lifted, stated_in=""),)


def test_install_keeps_an_exception_of_the_configuration_with_its_file(machine: Machine) -> None:
    stated = PolicyException(BOX, "", "unsigned", "2099-01-01", "trying it out", "config.toml")
    lenient = machine.but(policy=Policy(exceptions=(stated,)))
    receipt = lenient.install(write_artifact(machine.root / "dist")).receipt
    assert receipt.evidence == replace(GRANTED, stated_in="config.toml")


def test_receipt_of_an_earlier_version_reads_without_proof(machine: Machine) -> None:
    receipt = machine.install(machine.signed()).receipt
    document = json.loads(receipt.to_bytes())
    for key in ("proof", "exceptions", "index_serial"):
        del document[key]
    earlier = Receipt.parse(json.dumps(document).encode(), receipt.folder)
    assert (earlier.exceptions, earlier.index_serial) == ((), None)
    found, written = proof_of(earlier.evidence), proof_of(receipt.evidence)
    assert found is not None
    assert written is not None
    assert (found.signer, found.attestations) == (written.signer, ())
    assert found.root == RootFacts("local", "", "", "")


@pytest.mark.parametrize("key", ["signer", "rule", "exception", "proof"])
@pytest.mark.parametrize("damage", ["text", 5, ["list"]])
def test_receipt_refuses_what_is_no_mapping(machine: Machine, key: str, damage: object) -> None:
    receipt = machine.install(machine.signed()).receipt
    document = json.loads(receipt.to_bytes()) | {key: damage}
    with pytest.raises(ReceiptInvalid):
        Receipt.parse(json.dumps(document).encode(), receipt.folder)


def test_install_keeps_the_exception_in_sight(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist")
    receipt = machine.install(path, exception=GRANTED).receipt
    assert (receipt.badge, receipt.evidence) == ("unsigned", GRANTED)
    assert not (receipt.folder / "artifact.sigstore.json").exists()


def test_install_reports_the_version_it_replaced(machine: Machine) -> None:
    first = machine.install(machine.signed())
    second = machine.install(machine.signed(version="1.3.0"))
    assert (first.replaced, second.replaced) == (None, "1.2.3")
    assert machine.store.versions(BOX) == ["1.2.3", "1.3.0"]
    assert second.to_json()["permissions"] == {
        "egress": ["api.box.com:443"],
        "egress_from_config": [],
        "folders_from_config": [],
    }


def test_install_does_nothing_when_it_is_installed(machine: Machine) -> None:
    path = machine.signed()
    machine.install(path)
    with unchanged(machine.paths.home):
        report = machine.install(path)
    assert (report.was_installed, report.replaced) == (True, None)


def test_install_of_an_older_version_that_is_there_makes_it_current(machine: Machine) -> None:
    old = machine.signed()
    machine.install(old)
    machine.install(machine.signed(version="2.0.0"))
    report = machine.install(old)
    assert (report.was_installed, report.replaced) == (True, "2.0.0")
    assert machine.store.current_version(BOX) == "1.2.3"


def test_install_repairs_files_that_were_changed(machine: Machine) -> None:
    path = machine.signed()
    receipt = machine.install(path).receipt
    (receipt.files / "LICENSE").write_bytes(b"changed")
    report = machine.install(path)
    assert (report.was_installed, report.repaired, report.replaced) == (False, True, None)
    machine.store.check(report.receipt)
    assert not list(machine.paths.plugins.glob(f"{ASIDE_PREFIX}*"))


def test_install_repairs_a_record_that_still_says_who_may_follow(machine: Machine) -> None:
    path = machine.signed()
    record = machine.install(path).receipt.folder / "receipt.json"
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"manifest": {}}))
    report = machine.install(path)
    assert (report.was_installed, report.repaired) == (False, True)
    assert machine.store.get(PluginRef(BOX)) == report.receipt
    assert not machine.install(path).repaired


def test_install_reads_what_is_there_twice_and_hashes_it_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.signed()
    receipt = machine.install(path).receipt
    calls: list[str] = []
    for name in ("standing", "check"):
        called = getattr(Store, name)

        def counted(*given: Any, name: str = name, called: Any = called) -> Any:
            calls.append(name)
            return called(*given)

        monkeypatch.setattr(Store, name, counted)
    machine.install(path)
    assert calls == ["standing", "check", "standing"]
    calls.clear()
    (receipt.files / "LICENSE").write_bytes(b"changed")
    assert machine.install(path).repaired
    assert calls == ["standing", "check", "standing"]


def test_install_says_what_was_removed_at_this_moment(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.signed()
    machine.install(path)
    lock = Store.lock

    @contextlib.contextmanager
    def overtaken(store: Store, what: str) -> Iterator[None]:
        with lock(store, what):
            shutil.rmtree(machine.paths.plugin(BOX))
            yield

    monkeypatch.setattr(Store, "lock", overtaken)
    with pytest.raises(NotInstalled, match=r"`acme/box-connector@1.2.3` is not installed"):
        machine.install(path)


def test_install_does_not_repair_what_is_running(machine: Machine) -> None:
    path = machine.signed()
    receipt = machine.install(path).receipt
    (receipt.files / "LICENSE").write_bytes(b"changed")
    with (
        machine.store.hold(receipt),
        unchanged(machine.paths.home),
        pytest.raises(PluginInUse) as caught,
    ):
        machine.install(path)
    assert caught.value.exit_status == 1


def test_install_executes_nothing_of_the_plugin(machine: Machine, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    evil = f"open({str(mark)!r}, 'w')\n".encode()
    members = [
        member
        for member in python_members()
        if not member.path.startswith(("lib/app/", "bin/box-connector.py"))
    ]
    paths = ("lib/app/connector.py", "bin/box-connector.py", "lib/app/sitecustomize.py")
    members += [writing.Member(path, evil) for path in paths]
    members += [writing.Member(f"lib/{TAG}/x.pth", b"import os; os.system('touch ' + mark)\n")]
    machine.install(machine.signed(members))
    assert not mark.exists()


# ── bytecode ──────────────────────────────────────────────────────────────────────────────────────


def test_install_compiles_for_the_tag_of_the_interpreter_only(machine: Machine) -> None:
    receipt = machine.install(machine.signed(python_members())).receipt
    compiled = {p.relative_to(receipt.files).parts[1] for p in receipt.files.rglob("*.pyc")}
    assert compiled >= {"app", TAG}
    assert "cp399" not in compiled
    machine.store.check(receipt)


def test_installed_bytecode_is_used_whatever_the_source_time(machine: Machine) -> None:
    receipt = machine.install(machine.signed(python_members())).receipt
    for source in receipt.files.rglob("*.py"):
        os.utime(source, (1, 1))
    assert receipt.interpreter is not None
    path = os.pathsep.join([str(receipt.files / "lib/app"), str(receipt.files / "lib" / TAG)])
    program = (
        "import sys; sys.path[:0] = sys.argv[1].split(':'); import connector as c; print(c.VALUE)"
    )
    done = subprocess.run(
        [receipt.interpreter.executable, "-I", "-B", "-v", "-c", program, path],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "42\n"
    assert f"code object from {receipt.files / 'lib/app/connector.py'}" not in done.stderr
    assert "lib/app/__pycache__/connector." in done.stderr
    machine.store.check(receipt)


def test_installed_bytecode_is_the_same_each_time(machine: Machine) -> None:
    path = machine.signed(python_members())
    first = machine.install(path).receipt
    shutil.rmtree(machine.paths.plugins)
    assert machine.install(path).receipt.tree_digest == first.tree_digest


def test_installed_bytecode_does_not_depend_on_the_umask(machine: Machine) -> None:
    previous = os.umask(0o077)
    try:
        receipt = machine.install(machine.signed(python_members())).receipt
    finally:
        os.umask(previous)
    modes = {p.stat().st_mode & 0o777 for p in receipt.files.rglob("*.pyc")}
    assert modes == {0o644}


def test_install_takes_a_file_that_does_not_compile(machine: Machine) -> None:
    members = [*python_members(), writing.Member("lib/app/template.py", b"{{ broken }} (\n")]
    receipt = machine.install(machine.signed(members)).receipt
    assert (receipt.files / "lib/app/template.py").exists()
    assert not list(receipt.files.glob("lib/app/__pycache__/template.*"))


def test_install_compiles_what_stands_at_the_top(machine: Machine) -> None:
    members = [*python_members(), writing.Member("setup.py", b"VALUE = 1\n")]
    receipt = machine.install(machine.signed(members)).receipt
    assert list(receipt.files.glob("__pycache__/setup.*.pyc"))


def test_install_refuses_when_compiling_needs_too_much_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "MEMORY_BYTES", 1024 * 1024)
    path = machine.signed(python_members())
    with unchanged(prepared(machine)), pytest.raises(BytecodeFailed) as caught:
        machine.install(path)
    assert (caught.value.code, caught.value.exit_status) == ("bytecode-failed", 1)


def test_install_refuses_when_compiling_takes_too_long(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(bytecode, "_COMPILE", "import time; time.sleep(60)")
    with pytest.raises(BytecodeFailed, match="could not be compiled"):
        machine.install(machine.signed(python_members()))
    assert machine.store.receipts() == ()


def test_install_refuses_when_compiling_changed_a_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(folder: Path, *_: object, **__: object) -> None:
        (folder / "lib/app/connector.py").write_bytes(b"evil")
        (folder / "lib/app/more.py").write_bytes(b"evil")

    monkeypatch.setattr(preparing, "compile_tree", meddle)
    with pytest.raises(FilesChanged) as caught:
        machine.install(machine.signed(python_members()))
    assert "lib/app/connector.py" in caught.value.why
    assert "lib/app/more.py" in caught.value.why


# ── the interpreter ───────────────────────────────────────────────────────────────────────────────


def test_install_records_the_interpreter_it_ran(machine: Machine) -> None:
    chosen = machine.install(machine.signed(python_members())).receipt.interpreter
    assert chosen is not None
    assert chosen.executable == os.path.realpath(chosen.executable)
    assert chosen.version == ".".join(map(str, sys.version_info[:3]))
    assert (chosen.tag, chosen.base_prefix) == (TAG, sys.base_prefix)


def test_choose_interpreter_takes_the_configured_one_first(tmp_path: Path) -> None:
    other = python_at(tmp_path, answer(executable="/opt/mine"))
    assert choose_interpreter(("cp311",), [other], subject="x").executable == "/opt/mine"


def test_choose_interpreter_finds_a_configured_name_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_at(tmp_path, answer(executable="/opt/mine"), "my-python")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert choose_interpreter(("cp311",), ["my-python"], subject="x").executable == "/opt/mine"


def test_choose_interpreter_passes_over_one_that_does_not_fit(tmp_path: Path) -> None:
    old = python_at(tmp_path, answer(version="3.9.1"), "old")
    fits = python_at(tmp_path, answer(), "fits")
    assert choose_interpreter(("cp311",), [old, fits], subject="x").version == "3.11.7"


def test_choose_interpreter_passes_over_one_that_plugins_cannot_reach(tmp_path: Path) -> None:
    closed = python_at(tmp_path, answer(executable="/root/python"), "closed")
    fits = python_at(tmp_path, answer(executable="/opt/fits"), "fits")

    def unfit(found: Interpreter) -> str:
        return "user 61001 may not read it" if found.executable.startswith("/root/") else ""

    chosen = choose_interpreter(("cp311",), [closed, fits], subject="x", unfit=unfit)
    assert chosen.executable == "/opt/fits"
    with pytest.raises(InterpreterMissing) as caught:
        choose_interpreter(("cp311",), [closed], subject="x", unfit=unfit)
    assert f"{closed}: user 61001 may not read it" in caught.value.why
    assert caught.value.next[0] == "install python3.11 for every user of the machine"


def test_choose_interpreter_knows_the_systems_beside_that_of_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    python_at(tmp_path, answer(version="3.10.1", executable="/root/python"), "python3.10")
    python_at(system, answer(version="3.10.1", executable="/usr/python"), "python3.10")
    monkeypatch.setattr(interpreters, "_SYSTEM", str(system))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    chosen = choose_interpreter(
        ("cp310",), (), subject="x", unfit=lambda found: "closed" * ("root" in found.executable)
    )
    assert chosen.executable == "/usr/python"


def test_choose_interpreter_looks_on_path_for_another_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_at(tmp_path, answer(version="3.10.1", executable="/opt/python3.10"), "python3.10")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert choose_interpreter(("cp310",), (), subject="x").executable == "/opt/python3.10"


def test_choose_interpreter_looks_at_no_other_when_some_are_configured(tmp_path: Path) -> None:
    with pytest.raises(InterpreterMissing):
        choose_interpreter((TAG,), [str(tmp_path / "none")], subject="x")


@each_row(
    ("text", "named"),
    [
        (answer(libc=None), "musl"),
        (answer(libc="musl 1.2"), "musl"),
        (answer(libc="glibc 2.27"), "glibc 2.27, expected 2.28 or newer"),
        (answer(libc="glibc 2.x"), "does not run"),
        (answer(abiflags="t"), "without GIL"),
        (answer(implementation="pypy"), "is pypy, expected CPython"),
        (answer(version="3"), "does not run"),
        (answer(version=3), "does not run"),
        ("not json", "does not run"),
        ("[]", "does not run"),
        ("{}", "does not run"),
        ("", "does not run"),
    ],
)
def test_probe_says_why_plugins_cannot_run_on_it(tmp_path: Path, text: str, named: str) -> None:
    candidate = probe(python_at(tmp_path, text))
    assert candidate.interpreter is None
    assert named in candidate.problem


def test_probe_ends_an_interpreter_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "PROBE_TIMEOUT_S", 0.2)
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    path.chmod(0o755)
    assert "does not run" in probe(str(path)).problem
    child = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        _wait_until_gone(child)


def _wait_until_gone(process: int) -> None:
    """Raises ProcessLookupError once the process is gone; returns when it still runs after 10 s."""
    import time

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        os.kill(process, 0)
        if Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] == "Z":
            raise ProcessLookupError
        time.sleep(0.01)


def test_find_interpreters_gives_each_once() -> None:
    found = find_interpreters()
    assert TAG in {interpreter.tag for interpreter in found}
    assert len({interpreter.executable for interpreter in found}) == len(found)


def test_install_refuses_without_a_matching_interpreter(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    path = machine.signed(python_members("cp398"))
    with unchanged(machine.root), pytest.raises(InterpreterMissing) as caught:
        machine.install(path)
    assert (caught.value.code, caught.value.exit_status) == ("interpreter-missing", 6)
    assert "cp398" in caught.value.why
    assert "python3.98" in caught.value.next[0]


def test_install_names_what_it_found_instead(machine: Machine, tmp_path: Path) -> None:
    other = python_at(tmp_path / "bin", answer(version="3.9.1"))
    with pytest.raises(InterpreterMissing) as caught:
        machine.install(machine.signed(python_members()), InstallRequest(interpreters=(other,)))
    assert f"{other}: cp39" in caught.value.why


# ── what may follow what ──────────────────────────────────────────────────────────────────────────


def test_install_refuses_other_contents_of_an_installed_version(machine: Machine) -> None:
    machine.install(machine.signed())
    path = machine.signed([*go_members(), writing.Member("more", b"")])
    with unchanged(machine.paths.home), pytest.raises(VersionChanged) as caught:
        machine.install(path)
    assert (caught.value.code, caught.value.exit_status) == ("version-changed", 3)
    assert caught.value.why.count("sha256:") == 2


def test_install_refuses_another_signer(machine: Machine) -> None:
    machine = machine.but(policy=BOTH)
    machine.install(machine.signed())
    path = machine.sign(machine.signed(version="2.0.0"), identity="bob@local")
    with unchanged(machine.paths.home), pytest.raises(SignerChanged) as caught:
        machine.install(path)
    assert (caught.value.code, caught.value.exit_status) == ("signer-changed", 3)
    assert "alice@local" in caught.value.why
    assert "bob@local" in caught.value.why
    assert "--accept-new-signer bob@local`" in caught.value.next[-1]


def test_install_takes_another_signer_who_is_named(machine: Machine) -> None:
    machine = machine.but(policy=BOTH)
    machine.install(machine.signed())
    path = machine.sign(machine.signed(version="2.0.0"), identity="bob@local")
    report = machine.install(path, InstallRequest(accept_new_signer="bob@local"))
    assert signed_by(report) == "bob@local"


@pytest.mark.parametrize("named", ["carol@local", "alice@local", "bob", "*", "unsigned"])
def test_install_refuses_another_signer_when_somebody_else_is_named(
    machine: Machine, named: str
) -> None:
    machine = machine.but(policy=BOTH)
    machine.install(machine.signed())
    path = machine.sign(machine.signed(version="2.0.0"), identity="bob@local")
    with pytest.raises(SignerChanged):
        machine.install(path, InstallRequest(accept_new_signer=named))


BUILDS = Policy((build_rule(domain="local", issuer=CI_SERVICES["github"].issuer),))


def built(machine: Machine, version: str, **changes: str) -> Path:
    """A release that a workflow signed."""
    identity = github_identity(f"refs/tags/v{version}", **changes)
    return machine.sign(machine.signed(version=version), identity=identity)


def test_install_takes_the_next_release_of_the_same_workflow(machine: Machine) -> None:
    machine = machine.but(policy=BUILDS)
    machine.install(built(machine, "1.2.3"))
    report = machine.install(built(machine, "1.3.0"))
    assert report.replaced == "1.2.3"
    assert signed_by(report).endswith("@refs/tags/v1.3.0")


@pytest.mark.parametrize("form", ["name", "identity"])
def test_install_takes_another_workflow_that_is_named_with_or_without_its_ref(
    machine: Machine, form: str
) -> None:
    both = (*BUILDS.publishers, rule(namespace="acme"))
    machine = machine.but(policy=Policy(both))
    machine.install(machine.signed())
    path = built(machine, "1.3.0")
    with unchanged(machine.paths.home), pytest.raises(SignerChanged) as caught:
        machine.install(path)
    name = f"{REPOSITORY}/{WORKFLOW}"
    assert f"--accept-new-signer {name}`" in caught.value.next[-1]
    named = name if form == "name" else f"{name}@refs/tags/v1.3.0"
    report = machine.install(path, InstallRequest(accept_new_signer=named))
    assert report.receipt.version == "1.3.0"


def test_install_refuses_the_same_workflow_name_with_other_numbers(machine: Machine) -> None:
    [stated] = BUILDS.publishers
    assert stated.ci
    other = replace(stated, ci=replace(stated.ci, repository_id="666"))
    machine = machine.but(policy=Policy((stated, other)))
    machine.install(built(machine, "1.2.3"))
    path = built(machine, "1.3.0", repository_id="666")
    with unchanged(machine.paths.home), pytest.raises(SignerChanged) as caught:
        machine.install(path)
    assert "repository_id 123456" in caught.value.why
    assert "repository_id 666" in caught.value.why


@pytest.mark.parametrize("key", ["domain", "issuer"])
def test_install_refuses_the_same_name_of_another_issuer_or_domain(
    machine: Machine, key: str
) -> None:
    receipt = machine.install(machine.signed()).receipt
    document = json.loads(receipt.to_bytes())
    document["signer"][key] = "another"
    (receipt.folder / "receipt.json").write_text(json.dumps(document))
    with pytest.raises(SignerChanged, match="somebody else signed it"):
        machine.install(machine.signed(version="2.0.0"))


def test_install_refuses_to_go_back_to_an_installed_version_of_another_signer(
    machine: Machine,
) -> None:
    machine = machine.but(policy=BOTH)
    older = machine.signed()
    machine.install(older)
    newer = machine.sign(machine.signed(version="2.0.0"), identity="bob@local")
    machine.install(newer, InstallRequest(accept_new_signer="bob@local"))
    with unchanged(machine.paths.home), pytest.raises(SignerChanged) as caught:
        machine.install(older)
    assert "--accept-new-signer alice@local`" in caught.value.next[-1]
    back = machine.install(older, InstallRequest(accept_new_signer="alice@local"))
    assert (back.was_installed, back.replaced) == (True, "2.0.0")


def test_install_refuses_to_go_back_to_an_installed_unsigned_version(machine: Machine) -> None:
    unsigned = write_artifact(machine.root / "unsigned", go_members())
    machine.install(unsigned, exception=GRANTED)
    machine.install(machine.signed(version="2.0.0"))
    with unchanged(machine.paths.home), pytest.raises(SignerChanged, match="not signed"):
        machine.install(unsigned, exception=GRANTED)


def test_install_compares_with_the_current_signer_when_the_version_is_there_unsigned(
    machine: Machine,
) -> None:
    machine = machine.but(policy=BOTH)
    path = write_artifact(machine.root / "dist", go_members())
    machine.install(path, exception=GRANTED)
    machine.install(machine.signed(version="2.0.0"))
    machine.sign(path, identity="bob@local")
    with unchanged(machine.paths.home), pytest.raises(SignerChanged):
        machine.install(path)


# ── provenance never falls ────────────────────────────────────────────────────────────────────────


def test_install_refuses_no_provenance_after_provenance(machine: Machine) -> None:
    machine.install(machine.attest(machine.signed()))
    path = machine.signed(version="2.0.0")
    with unchanged(machine.paths.home), pytest.raises(ProvenanceMissing) as caught:
        machine.install(path)
    assert (caught.value.code, caught.value.exit_status) == ("provenance-missing", 3)
    assert caught.value.what.startswith("`acme/box-connector` 2.0.0 was not installed")
    assert "--accept-new-signer alice@local`" in caught.value.next[-1]


def test_install_takes_no_provenance_after_provenance_when_the_signer_is_named(
    machine: Machine,
) -> None:
    machine.install(machine.attest(machine.signed()))
    accepted = InstallRequest(accept_new_signer="alice@local")
    report = machine.install(machine.signed(version="2.0.0"), accepted)
    assert report.receipt.version == "2.0.0"


def test_install_refuses_a_bill_of_materials_in_place_of_provenance(machine: Machine) -> None:
    machine.install(machine.attest(machine.signed()))
    path = machine.signed(version="2.0.0")
    machine.attest(path, predicateType=SBOM_TYPE, predicate={})
    with pytest.raises(ProvenanceMissing):
        machine.install(path)


def test_install_takes_provenance_after_none_and_then_demands_it(machine: Machine) -> None:
    machine.install(machine.signed())
    machine.install(machine.attest(machine.signed(version="2.0.0")))
    with pytest.raises(ProvenanceMissing):
        machine.install(machine.signed(version="3.0.0"))


def test_install_takes_better_attestations_for_the_same_bytes(machine: Machine) -> None:
    path = machine.signed()
    machine.install(path)
    report = machine.install(machine.attest(path))
    assert (report.was_installed, report.repaired) == (False, False)
    assert (report.receipt.folder / "artifact.intoto.jsonl").exists()


def test_install_knows_an_attested_build_again_though_a_record_sorts_its_claims(
    machine: Machine,
) -> None:
    machine = machine.but(policy=BUILDS)
    path = built(machine, "1.2.3")
    identity = github_identity("refs/tags/v1.2.3")
    machine.attest(path, identity=identity)
    machine.install(path)
    with unchanged(machine.paths.home):
        assert machine.install(path).was_installed


def test_install_keeps_better_attestations_for_the_same_bytes(machine: Machine) -> None:
    path = machine.attest(machine.signed())
    machine.install(path)
    path.with_name(path.name + ".intoto.jsonl").unlink()
    with unchanged(machine.paths.home):
        assert machine.install(path).was_installed


def test_install_refuses_more_statements_than_a_record_may_hold(machine: Machine) -> None:
    machine.install(machine.attest(machine.signed()))
    path = machine.signed(version="2.0.0")
    long = provenance()
    long["runDetails"]["metadata"]["invocationId"] = "é" * 2000
    line = Forge.of(machine.domain).statement(Digest.of(path.read_bytes()), predicate=long)
    path.with_name(path.name + ".intoto.jsonl").write_bytes(attestations([line] * 32))
    with unchanged(machine.paths.home), pytest.raises(FileTooLarge) as caught:
        machine.install(path)
    assert caught.value.why.startswith("expected at most 262144 bytes")


def test_install_records_the_exception_that_it_takes_today(machine: Machine) -> None:
    path = built(machine, "1.2.3")
    machine.but(policy=BUILDS).install(path)
    lifted = PolicyException(BOX, "", "unverified", "2099-01-01", "audit pending", "config.toml")
    strict = Policy(BUILDS.publishers, require="verified", exceptions=(lifted,))
    receipt = machine.but(policy=strict).install(path).receipt
    assert receipt.exceptions == (replace(lifted, stated_in=""),)


def test_install_refuses_unsigned_after_signed(machine: Machine) -> None:
    machine.install(machine.signed())
    path = write_artifact(machine.root / "unsigned", go_members(version="2.0.0"))
    with unchanged(machine.paths.home), pytest.raises(SignerChanged, match="not signed"):
        machine.install(path, exception=GRANTED)
    accepted = machine.install(
        path, InstallRequest(accept_new_signer="unsigned"), exception=GRANTED
    )
    assert accepted.receipt.badge == "unsigned"


def test_install_takes_signed_after_unsigned(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist")
    machine.install(path, exception=GRANTED)
    report = machine.install(machine.sign(path))
    assert (report.was_installed, report.receipt.badge) == (False, "local")


def test_install_keeps_better_evidence_for_the_same_bytes(machine: Machine) -> None:
    signed = machine.signed()
    machine.install(signed)
    unsigned = write_artifact(machine.root / "unsigned")
    report = machine.install(unsigned, exception=GRANTED)
    assert (report.was_installed, report.receipt.badge) == (True, "local")


def test_install_refuses_after_a_damaged_receipt(machine: Machine) -> None:
    receipt = machine.install(machine.signed()).receipt
    (receipt.folder / "receipt.json").write_bytes(b"{")
    with pytest.raises(ReceiptInvalid):
        machine.install(machine.signed(version="2.0.0"))


# ── whatever happens ──────────────────────────────────────────────────────────────────────────────

COMPILING: list[tuple[object, str]] = [
    (preparing, "compile_tree"),
    (tree, "list_tree"),  # which comes next
]
STEPS: list[tuple[object, str]] = [
    *COMPILING,
    (unpacking, "unpack"),
    (tree, "format_tree"),
    (files_writing, "write_atomic"),
    (preparing, "_receipt"),
    (Store, "commit"),
    (Store, "make_current"),
    (Store, "_switch"),
    (Store, "_lock_after"),
    (Current, "to_bytes"),
    (LockPlace, "encode"),
]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("has_predecessor", [False, True], ids=["first", "second"])
def test_install_that_fails_at_a_step_changes_nothing(
    machine: Machine, *, has_predecessor: bool
) -> None:
    if has_predecessor:
        machine.install(machine.signed(python_members(version="1.0.0")))
    else:
        prepared(machine)
    python = machine.signed(python_members(version="1.2.4"))
    with machine.verify(python) as compiled, machine.verify(machine.signed()) as admitted:

        @for_rows(itertools.product(STEPS, [(full, DiskFull), (interrupt, KeyboardInterrupt)]))
        def check(
            step: tuple[object, str], end: tuple[Callable[..., None], type[BaseException]]
        ) -> None:
            failure, expected = end
            source = compiled if step in COMPILING else admitted
            with pytest.MonkeyPatch.context() as patch, unchanged(machine.paths.home):
                patch.setattr(*step, failure)
                with pytest.raises(expected):
                    install(source, machine.store, InstallRequest())

        check()
        install(admitted, machine.store, InstallRequest())
    assert machine.store.current_version(BOX) == "1.2.3"


FILES = files_of(install, preparing, succession, Store)


def left_behind(home: Path) -> frozenset[tuple[str, int, bytes]]:
    """What stands in a home, without what differs between two ends at the same point of the way."""
    aside = re.compile(re.escape(ASIDE_PREFIX) + "[^/]*")
    varying = re.compile(rb'"installed_at": *"[^"]*"')
    return frozenset(
        (
            aside.sub(ASIDE_PREFIX, path),
            mode,
            b"" if path.endswith("store.lock") else varying.sub(b"", contents),
        )
        for path, (mode, contents) in snapshot(home).items()
    )


def assert_true_store(machine: Machine, admitted: AdmittedArtifact) -> None:
    """What can be seen is whole, and the next installation ends as if nothing had happened."""
    store = machine.store
    assert store.inventory().problems == ()
    current = store.get(PluginRef(BOX))
    assert current.version in {"1.0.0", "1.2.3"}
    for receipt in store.receipts():
        store.check(receipt)
    install(admitted, store, InstallRequest())
    assert store.current_version(BOX) == "1.2.3"
    assert store.folders(BOX) == ["1.0.0", "1.2.3"]
    assert_locked(machine, "1.2.3")


def assert_locked(machine: Machine, version: str) -> None:
    """The lock file says what is used, and nothing is left of how it came to that."""
    lock = machine.store.lock_file.read()
    assert lock is not None
    assert [(entry.id, entry.version) for entry in lock.entries] == [(BOX, version)]
    assert not list(machine.paths.home.rglob(f"{ASIDE_PREFIX}*"))
    assert not list(machine.paths.home.glob("aperio.lock-*"))


def test_install_that_dies_leaves_the_store_true_at_every_line(machine: Machine) -> None:
    machine.install(machine.signed(version="1.0.0"))
    found: dict[frozenset[tuple[str, int, bytes]], int] = {}
    with machine.verify(machine.signed()) as admitted:

        def action() -> object:
            return install(admitted, machine.store, InstallRequest())

        for number in left_at_each_line(machine.paths.home, action, FILES, left_behind):
            left = left_behind(machine.paths.home)
            if left not in found:
                found[left] = number
                assert_true_store(machine, admitted)
    assert max(found.values()) > 100, "the installation has more lines than this"
    assert len(found) >= 8


# In `make test-all` a process that dies for every line, too, and a third of the lines for the two
# ends that clean up; else every nineteenth.
@pytest.mark.parametrize(
    ("stop", "first", "step", "states"),
    [
        pytest.param(die, 1, 1, 8, marks=pytest.mark.slow),
        pytest.param(interrupt, 1, 3, 2, marks=pytest.mark.slow),
        pytest.param(full, 2, 3, 2, marks=pytest.mark.slow),
        (interrupt, 5, 19, 2),
        (full, 8, 19, 2),
    ],
)
def test_install_leaves_the_store_true_at_every_line(
    machine: Machine, stop: Callable[[], None], first: int, step: int, states: int
) -> None:
    machine.install(machine.signed(version="1.0.0"))
    saved = machine.root / "saved"
    shutil.copytree(machine.paths.home, saved)
    before = left_behind(machine.paths.home)
    found = set()
    with machine.verify(machine.signed()) as admitted:

        def action() -> object:
            return install(admitted, machine.store, InstallRequest())

        number = first
        while stopped_at(number, stop, action, FILES):
            left = left_behind(machine.paths.home)
            is_new = left not in found  # most lines change nothing on disk
            if is_new:
                found.add(left)
                assert_true_store(machine, admitted)
            if is_new or left != before:
                shutil.rmtree(machine.paths.home)
                shutil.copytree(saved, machine.paths.home)
            number += step
    assert number > 100, "the installation has more lines than this"
    assert len(found) >= states


def test_installs_at_the_same_time_all_succeed(machine: Machine) -> None:
    versions = [f"1.0.{number}" for number in range(4)]
    paths = [machine.signed(python_members(version=version)) for version in versions]
    with ThreadPoolExecutor(len(paths)) as threads:
        reports = list(threads.map(machine.install, paths, timeout=60))
    assert machine.store.folders(BOX) == versions
    assert machine.store.current_version(BOX) in versions
    for report in reports:
        machine.store.check(report.receipt)
    assert not list(machine.paths.plugins.glob(f"{ASIDE_PREFIX}*"))
