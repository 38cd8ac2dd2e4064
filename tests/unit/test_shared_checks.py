"""One check of files for several starts: for those that asked before it began, and no others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.errors.files import FilesChanged
from aperio_cli.host.process.checks import SharedChecks
from aperio_cli.host.process.program import Program
from aperio_cli.host.process.sealed import seal_binary
from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store
from tests.builders import manifest, receipt
from tests.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aperio_cli.models.receipt import Receipt

WITHIN_S = 10.0
KERNEL = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])


class Checker:
    """A check that waits until it may go on, and says which of them it was."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.one_begun = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)
        self.outcomes: list[BaseException | None] = []

    def __call__(self, receipt: Receipt, _store: Store) -> Program:
        number = len(self.begun)
        self.begun.append(str(receipt.folder))
        self.one_begun.release()
        assert self.may_go_on.acquire(timeout=WITHIN_S)
        if number < len(self.outcomes) and (error := self.outcomes[number]):
            raise error
        return program(f"check {number}")

    async def next_begun(self) -> None:
        """Wait until one more has begun."""
        assert await asyncio.to_thread(self.one_begun.acquire, timeout=WITHIN_S)


def program(subject: str, **changes: Any) -> Program:
    declared = manifest()
    made = Program(
        subject, "acme/box", "1.0.0", "connector", "BOX", ("/x",), Path("/x"), declared, "o"
    )
    return replace(made, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(find_paths({}, home=str(tmp_path)))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_a_start_is_given_no_check_that_began_before_it_asked(store: Store) -> None:
    checks, checker, version = SharedChecks(), Checker(), receipt(folder=Path("/a"))

    async def main() -> None:
        def ask() -> asyncio.Task[Program]:
            return asyncio.create_task(checks.program(version, store, checker))

        first = ask()
        await checker.next_begun()
        late, later = ask(), ask()
        await asyncio.sleep(0)
        checker.may_go_on.release()
        assert (await first).subject == "check 0"
        await checker.next_begun()
        last = ask()
        await asyncio.sleep(0)
        assert not late.done()
        checker.may_go_on.release(2)
        assert {(await late).subject, (await later).subject} == {"check 1"}
        assert (await last).subject == "check 2"

    run(main)
    assert len(checker.begun) == 3


def test_a_check_is_good_for_starts_that_had_asked_before_it_whenever_their_turn_comes(
    store: Store,
) -> None:
    checks, checker, version = SharedChecks(0.0), Checker(), receipt(folder=Path("/a"))
    waiting = checks.since(clock.monotonic_s())

    async def main() -> None:
        first = asyncio.create_task(checks.program(version, store, checker))
        await checker.next_begun()
        while_it_goes_on = asyncio.create_task(waiting.program(version, store, checker))
        await asyncio.sleep(0)
        checker.may_go_on.release()
        assert {(await first).subject, (await while_it_goes_on).subject} == {"check 0"}
        assert (await waiting.program(version, store, checker)).subject == "check 0"
        checker.may_go_on.release(2)
        late = checks.since(clock.monotonic_s())
        assert (await late.program(version, store, checker)).subject == "check 1"
        other = replace(version, badge="official")
        assert (await waiting.program(other, store, checker)).subject == "check 2"

    run(main)


def test_a_check_is_good_for_those_that_waited_for_so_long_only_as_it_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, checker, version = SharedChecks(0.0, 60.0), Checker(), receipt(folder=Path("/a"))
    began = clock.monotonic_s()
    waiting = checks.since(began)
    checker.may_go_on.release(3)

    async def main() -> None:
        await checks.program(version, store, checker)
        monkeypatch.setattr(clock, "monotonic_s", lambda: began + 59)
        assert (await waiting.program(version, store, checker)).subject == "check 0"
        monkeypatch.setattr(clock, "monotonic_s", lambda: began + 62)
        assert (await waiting.program(version, store, checker)).subject == "check 1"

    run(main)


def test_what_a_check_holds_open_is_let_go_once_it_is_good_for_nobody(
    store: Store, tmp_path: Path
) -> None:
    binary = tmp_path / "plugin"
    binary.write_bytes(b"content")
    before = open_descriptors()

    def check(_receipt: Receipt, _store: Store) -> Program:
        expected = hashlib.sha256(b"content").hexdigest()
        return program("sealed", sealed=seal_binary(binary, expected, subject="it"))

    async def main() -> None:
        checks = SharedChecks(0.0, 0.01)
        waiting = checks.since(clock.monotonic_s())
        opened = open_descriptors()
        (await waiting.program(receipt(folder=tmp_path), store, check)).close()
        while open_descriptors() - opened:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    run(main)
    assert not open_descriptors() - before


def test_an_outcome_that_refuses_is_kept_for_nobody(store: Store) -> None:
    checks, checker, version = SharedChecks(0.0), Checker(), receipt(folder=Path("/a"))
    checker.outcomes = [FilesChanged("`acme/box` is not as it was installed")]
    checker.may_go_on.release(2)
    waiting = checks.since(clock.monotonic_s())

    async def main() -> None:
        with pytest.raises(FilesChanged):
            await waiting.program(version, store, checker)
        assert (await waiting.program(version, store, checker)).subject == "check 1"

    run(main)


def test_checks_of_a_version_that_is_started_again_and_again_keep_a_distance(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, checker = SharedChecks(60.0), Checker()
    checker.may_go_on.release(4)
    began = clock.monotonic_s()

    async def main() -> None:
        version = receipt(folder=Path("/a"))
        await checks.program(version, store, checker)
        await checks.program(receipt(folder=Path("/b")), store, checker)
        waiting = [asyncio.create_task(checks.program(version, store, checker)) for _ in range(2)]
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        for each in waiting:
            each.cancel()
        monkeypatch.setattr(clock, "monotonic_s", lambda: began + 120)
        await checks.program(receipt(folder=Path("/b")), store, checker)

    run(main)
    assert checker.begun == ["/a", "/b", "/b"]


def test_two_checks_of_one_folder_never_go_on_at_once(store: Store) -> None:
    checks, checker = SharedChecks(0.01), Checker()
    version = receipt(folder=Path("/a"))
    other = replace(version, badge="official")

    async def main() -> None:
        first = asyncio.create_task(checks.program(version, store, checker))
        await checker.next_begun()
        rest = [asyncio.create_task(checks.program(v, store, checker)) for v in (other, version)]
        for done in range(1, 3):
            await asyncio.sleep(0.02)
            assert len(checker.begun) == done
            checker.may_go_on.release()
            await checker.next_begun()
        checker.may_go_on.release()
        await asyncio.gather(first, *rest)

    run(main)


def test_what_stands_elsewhere_or_is_granted_other_things_is_checked_for_itself(
    store: Store,
) -> None:
    checks, checker, version = SharedChecks(), Checker(), receipt(folder=Path("/a"))
    checker.may_go_on.release(4)

    async def main() -> None:
        asked = (version, receipt(folder=Path("/b")), replace(version, badge="official"))
        found = [checks.program(each, store, checker) for each in asked]
        found.append(checks.program(version, Store(find_paths({}, home="/tmp")), checker))
        assert len({each.subject for each in await asyncio.gather(*found)}) == len(found)

    run(main)


def test_each_start_is_given_an_error_of_its_own_and_the_next_check_is_another(
    store: Store,
) -> None:
    checks, checker, version = SharedChecks(), Checker(), receipt(folder=Path("/a"))
    checker.outcomes = [FilesChanged("`acme/box` is not as it was installed")]
    checker.may_go_on.release(2)

    async def main() -> None:
        asked = [checks.program(version, store, checker) for _ in range(2)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in errors] == [FilesChanged] * 2
        assert errors[0] is not errors[1]
        assert (await checks.program(version, store, checker)).subject == "check 1"

    run(main)


def test_a_start_that_gives_up_takes_the_check_from_nobody(store: Store) -> None:
    checks, checker, version = SharedChecks(), Checker(), receipt(folder=Path("/a"))

    async def main() -> None:
        first = asyncio.create_task(checks.program(version, store, checker))
        second = asyncio.create_task(checks.program(version, store, checker))
        await checker.next_begun()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        checker.may_go_on.release()
        assert (await second).subject == "check 0"

    run(main)


@pytest.mark.skipif(KERNEL < (6, 3), reason="F_SEAL_EXEC is Linux 6.3's")
def test_no_plugin_keeps_others_from_running_a_sealed_copy(tmp_path: Path) -> None:
    binary = tmp_path / "plugin"
    binary.write_bytes(b"content")
    sealed = seal_binary(binary, hashlib.sha256(b"content").hexdigest(), subject="it")
    assert sealed
    with pytest.raises(PermissionError):
        os.fchmod(sealed.descriptor, 0o600)
    sealed.close()


def test_each_start_has_a_hold_of_its_own_on_the_sealed_copy(store: Store, tmp_path: Path) -> None:
    binary = tmp_path / "plugin"
    binary.write_bytes(Path("/bin/true").read_bytes())
    version = receipt(folder=tmp_path)
    before = open_descriptors()

    def check(_receipt: Receipt, _store: Store) -> Program:
        return program(
            "sealed",
            sealed=seal_binary(
                binary, hashlib.sha256(binary.read_bytes()).hexdigest(), subject="it"
            ),
        )

    async def main() -> None:
        checks = SharedChecks()
        asked = [checks.program(version, store, check) for _ in range(2)]
        first, second = await asyncio.gather(*asked)
        first.close()
        assert second.sealed
        descriptor = second.sealed.descriptor
        subprocess.run([second.sealed.path], pass_fds=[descriptor], check=True, timeout=WITHIN_S)  # noqa: ASYNC221
        second.close()

    run(main)
    assert not open_descriptors() - before
