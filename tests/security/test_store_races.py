"""Several processes at work on one store at the same moment."""

from __future__ import annotations

import contextlib
import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.archive import unpacking
from aperio_cli.models.plugin_id import PluginRef
from tests.builders import PLUGIN, Machine
from tests.trust import new_domain

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.store.installed import Store

WORKERS = 4
ROUNDS = 40
DEADLINE_S = 60


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    return Machine(tmp_path, domain)


def prepare_and_give_up(store: Store, faults: Any) -> None:
    """What many failing installs do: prepare aside, and leave nothing."""
    try:
        for _ in range(ROUNDS):
            with store.aside("nothing was installed") as aside:
                for number in range(40):
                    (aside / str(number)).touch()
    except BaseException as fault:
        faults.put(f"{type(fault).__name__}: {fault}")
        raise


def test_one_installs_cleaning_up_does_not_meet_anothers_sweeping(machine: Machine) -> None:
    context = multiprocessing.get_context("fork")
    faults = context.SimpleQueue()
    workers = [
        context.Process(target=prepare_and_give_up, args=(machine.store, faults))
        for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE_S)

    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert faults.empty()
    assert list(machine.paths.plugins.iterdir()) == []


def test_install_takes_what_another_has_installed_and_runs_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = machine.signed()
    unpack = unpacking.unpack

    with contextlib.ExitStack() as running:

        def overtaken(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(unpacking, "unpack", unpack)
            receipt = machine.install(artifact).receipt
            running.enter_context(machine.store.hold(receipt))
            return unpack(*arguments, **options)

        monkeypatch.setattr(unpacking, "unpack", overtaken)
        report = machine.install(artifact)

    assert report.was_installed
    machine.store.check(machine.store.get(PluginRef.parse(PLUGIN)))
