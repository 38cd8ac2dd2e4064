"""The clearance: what refuses a start, beside what does not; and that nobody else makes one."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from aperio_cli.errors.installing import PlatformIncompatible, ProtocolIncompatible
from aperio_cli.errors.running import ExceptionExpired, InterpreterChanged, RequiredLimit
from aperio_cli.errors.trust import (
    PublisherUnknown,
    PublisherUnverified,
    SignatureIdentityMismatch,
)
from aperio_cli.host.launch import LaunchOptions, checked, launch, started
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter, Project
from aperio_cli.models.evidence import Verified
from aperio_cli.models.machine import Machine
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.verifying import Cleared, clear
from tests.builders import manifest, receipt, rule
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from aperio_cli.errors import AperioError
    from aperio_cli.models.receipt import Receipt

DAY = date(2026, 1, 1)
HERE = Platform("linux", "amd64")
BOX = PluginId("acme", "box-connector")
PYTHON = Interpreter("/usr/bin/python3.11", "3.11.4", "cp311", "/usr")
GONE = (PYTHON, "/usr/bin/python3.11 is not there, or may not be executed")
FOLDER = DevelopmentBuild(Project(Path("box"), manifest()), Path("box/plugin.py"))
PYTHON_FOLDER = replace(FOLDER, interpreter=PYTHON, dependencies=Path("/cache"))
ALLOWED = Policy((rule(),))
PLAIN = Machine(HERE)
OTHER = Machine(Platform("linux", "arm64"))


def lifting(lifted: str, **changes: Any) -> PolicyException:
    stated = PolicyException(BOX, "", lifted, "2026-01-01", "audit pending", "config.toml")
    return replace(stated, **changes)


@dataclass(frozen=True)
class Ask:
    """A question about a start; as it is, the answer is yes."""

    target: Receipt | DevelopmentBuild
    policy: Policy = ALLOWED
    machine: Machine = PLAIN
    day: date = DAY
    organization: str = ""

    def __call__(self) -> Cleared:
        return clear(self.target, self.policy, self.machine, self.day, self.organization)


INSTALLED = Ask(receipt())
NARROW = rule(namespace="acme", identity="bob@local")
ON_PYTHON = receipt(interpreter=PYTHON)
NEEDS_MEMORY = Policy((rule(),), limits=("memory",))
LIFTED = replace(NEEDS_MEMORY, exceptions=(lifting("limit:memory"),))
VERIFIED = Policy((rule(),), require="verified", exceptions=(lifting("unverified"),))
PROD = Policy((rule(),), organizations=(("prod", "verified"),))
NEXT_DAY = date(2026, 1, 2)
SECOND = Machine(HERE, interface=(2, 0))
SEEN = Machine(HERE, interpreters=((PYTHON, ""),))
MISSING = Machine(HERE, interpreters=(GONE,))
WITH_MEMORY = Machine(HERE, frozenset({"memory"}))

TABLE: dict[str, tuple[Ask, Ask, type[AperioError]]] = {
    "no rule": (replace(INSTALLED, policy=Policy()), INSTALLED, PublisherUnknown),
    "a narrower rule for somebody else": (
        replace(INSTALLED, policy=Policy((rule(), NARROW))),
        replace(INSTALLED, policy=Policy((rule(), replace(NARROW, namespace="other")))),
        SignatureIdentityMismatch,
    ),
    "an exception that has ended": (
        replace(INSTALLED, policy=VERIFIED, day=NEXT_DAY),
        replace(INSTALLED, policy=VERIFIED),
        ExceptionExpired,
    ),
    "an organization's requirement": (
        replace(INSTALLED, policy=PROD, organization="prod"),
        replace(INSTALLED, policy=PROD, organization="test"),
        PublisherUnverified,
    ),
    "a folder where publishers have to be verified": (
        Ask(FOLDER, Policy(require="verified")),
        Ask(FOLDER, Policy(require="signed")),
        PublisherUnverified,
    ),
    "a folder for an organization that verifies": (
        Ask(FOLDER, PROD, organization="prod"),
        Ask(FOLDER, PROD, organization="test"),
        PublisherUnverified,
    ),
    "a required limit": (
        replace(INSTALLED, policy=NEEDS_MEMORY),
        replace(INSTALLED, policy=NEEDS_MEMORY, machine=WITH_MEMORY),
        RequiredLimit,
    ),
    "a required limit after its exception": (
        replace(INSTALLED, policy=LIFTED, day=NEXT_DAY),
        replace(INSTALLED, policy=LIFTED),
        RequiredLimit,
    ),
    "a required limit, lifted for another version": (
        replace(
            INSTALLED,
            policy=replace(NEEDS_MEMORY, exceptions=(lifting("limit:memory", version="9.9.9"),)),
        ),
        replace(
            INSTALLED,
            policy=replace(NEEDS_MEMORY, exceptions=(lifting("limit:memory", version="1.2.3"),)),
        ),
        RequiredLimit,
    ),
    "a second required limit": (
        replace(INSTALLED, policy=replace(LIFTED, limits=("memory", "cpu"))),
        replace(INSTALLED, policy=replace(LIFTED, limits=("memory",))),
        RequiredLimit,
    ),
    "a required limit of a folder": (
        Ask(FOLDER, LIFTED),
        Ask(FOLDER, LIFTED, WITH_MEMORY),
        RequiredLimit,
    ),
    "another platform": (
        replace(INSTALLED, machine=OTHER),
        replace(INSTALLED, target=receipt(platform="linux/arm64"), machine=OTHER),
        PlatformIncompatible,
    ),
    "another major version": (
        replace(INSTALLED, target=receipt(manifest=manifest(protocol="2.0"))),
        replace(INSTALLED, target=receipt(manifest=manifest(protocol="1.7"))),
        ProtocolIncompatible,
    ),
    "a host of another major version": (
        replace(INSTALLED, machine=SECOND),
        replace(INSTALLED, target=receipt(manifest=manifest(protocol="2.3")), machine=SECOND),
        ProtocolIncompatible,
    ),
    "a folder of another major version": (
        Ask(FOLDER, machine=SECOND),
        Ask(FOLDER),
        ProtocolIncompatible,
    ),
    "an interpreter that is gone": (
        Ask(ON_PYTHON, machine=MISSING),
        Ask(ON_PYTHON, machine=SEEN),
        InterpreterChanged,
    ),
    "an interpreter that nobody looked for": (
        Ask(ON_PYTHON),
        Ask(ON_PYTHON, machine=SEEN),
        InterpreterChanged,
    ),
    "a folder's interpreter that is gone": (
        Ask(PYTHON_FOLDER, machine=MISSING),
        Ask(PYTHON_FOLDER, machine=SEEN),
        InterpreterChanged,
    ),
}


@for_each(TABLE)
def test_a_start_is_refused_and_its_benign_twin_is_not(name: str) -> None:
    asked, twin, expected = TABLE[name]

    with pytest.raises(expected) as caught:
        asked()

    assert type(caught.value) is expected
    assert " was not " in caught.value.what
    assert caught.value.why
    assert caught.value.next
    assert twin().target is twin.target


def test_a_clearance_says_why_and_what_was_lifted() -> None:
    limits = replace(LIFTED, limits=("open_files", "memory"))
    found = clear(receipt(), limits, Machine(HERE, frozenset({"open_files"})), DAY)

    assert found.judgement
    assert isinstance(found.judgement.evidence, Verified)
    assert found.judgement.evidence.rule == rule()
    assert found.lifted == limits.exceptions
    assert found.notices == (
        "required limit `memory` is not enforced, by an exception until 2026-01-01: audit pending",
    )
    assert Ask(FOLDER)().judgement is None
    assert INSTALLED().notices == ()


def test_a_refusal_says_what_it_comes_to() -> None:
    outcome = "would not be started"
    for name in ("no rule", "a required limit", "another platform", "an interpreter that is gone"):
        asked, _, expected = TABLE[name]
        with pytest.raises(expected, match=outcome):
            clear(asked.target, asked.policy, asked.machine, DAY, outcome=outcome)


def test_the_interpreter_that_is_gone_is_named_with_what_is_missing() -> None:
    with pytest.raises(InterpreterChanged) as caught:
        Ask(ON_PYTHON, machine=MISSING)()

    assert caught.value.why == f"expected Python 3.11.4 (cp311): {GONE[1]}"
    assert caught.value.next == ("install the plugin again, which chooses an interpreter anew",)


# ── the seal ──────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_constructs_a_clearance() -> None:
    with pytest.raises(TypeError, match=r"only verifying\.clear"):
        Cleared(receipt(), None, (), seal=cast("Any", object()))
    with pytest.raises(TypeError, match="seal"):
        cast("Any", Cleared)(receipt(), None, ())


def test_a_clearance_is_not_carried_over_to_another_target() -> None:
    with pytest.raises((ValueError, TypeError), match="seal"):  # the latter from 3.13 on
        replace(cast("Any", INSTALLED()), target=receipt(manifest=manifest(version="6.6.6")))
    with pytest.raises(AttributeError):
        INSTALLED().target = receipt(manifest=manifest(version="6.6.6"))  # type: ignore[misc] # what is tried


def test_a_clearance_has_no_copies() -> None:
    found = INSTALLED()
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="no copies"):
            copying(found)
    assert found.spend() == INSTALLED.target


def test_a_clearance_has_no_kinds() -> None:
    with pytest.raises(TypeError, match="no kinds"):
        type("Forged", (Cleared,), {"__post_init__": lambda *_: None})


def test_a_clearance_is_spent_once() -> None:
    found = INSTALLED()
    assert found.spend() is INSTALLED.target
    with pytest.raises(ValueError, match="clear the target again"):
        found.spend()
    assert INSTALLED().spend() is INSTALLED.target


def test_of_many_threads_one_spends_a_clearance() -> None:
    for _ in range(20):
        found, barrier = INSTALLED(), threading.Barrier(8)
        won: list[int] = []

        def spend(found: Cleared = found, barrier: Any = barrier, won: list[int] = won) -> None:
            barrier.wait(10)
            try:
                found.spend()
            except ValueError:
                return
            won.append(1)

        threads = [threading.Thread(target=spend) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert won == [1]


# ── the host takes nothing else ───────────────────────────────────────────────────────────────────


@each_row("way", [launch, started])
@each_row("forged", [receipt(), FOLDER, None, object.__new__(Cleared)])
def test_the_host_starts_nothing_that_was_not_cleared(
    way: Any, forged: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with way(forged, LaunchOptions(tmp_path / "runtime"), lambda _record: None):
            raise AssertionError("it was started")

    with pytest.raises((TypeError, AttributeError)):
        asyncio.run(main())
    assert not (tmp_path / "runtime").exists()


def test_the_host_takes_a_clearance_once() -> None:
    async def main() -> None:
        found = Ask(FOLDER)()
        async with checked(found, None) as program:
            assert program.subject == "`acme/box-connector` 1.2.3 (development)"
        with pytest.raises(ValueError, match="one launch"):
            async with checked(found, None):
                raise AssertionError("it was checked again")

    asyncio.run(main())
