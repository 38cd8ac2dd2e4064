"""Callers of the control API in Go: the SDK's client, and Connect as Aperio's server has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import aperio_cli
from aperio_cli.host.calls.envelopes import Origin, envelope_id
from tests.process.test_control import TIMEOUT_S, end, serving, short_folder, start
from tests.sharing import linked_once
from tests.simulators.box import BoxOptions, BoxSimulator, make_events

from .conftest import GO, PLAIN, check_go

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.go, pytest.mark.timeout(300)]

PAGE = GO.parents[2] / "docs" / "reference" / "control-api.md"
EVENTS = 1200
_BUILD_TIMEOUT_S = 200.0


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both programs."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")

    def link(folder: Path) -> None:
        build("./caller", GO / "sdk", folder / "caller")
        build(".", GO / "connect", folder / "connect")

    return linked_once(tmp_path_factory, "callers", link)


def test_a_go_program_loses_nothing_of_box_when_the_host_is_killed_in_the_middle(
    built: Path,
) -> None:
    """It is read further by the host that takes the place of the one that was killed."""
    events = make_events(EVENTS, seed=7)
    options = BoxOptions(max_chunk=100)  # a checkpoint each
    with short_folder() as folder, BoxSimulator(events, options) as box:
        settings = {
            "enterprise_id": options.enterprise_id,
            "client_id": options.client_id,
            "client_secret": options.client_secret,
            "base_url": box.url,
            "created_after": "2020-01-01T00:00:00Z",
        }
        first = start(folder)
        command = [str(built / "caller"), "-socket", str(first.socket), "-plugin", "acme/box"]
        with subprocess.Popen(
            [*command, "-config", json.dumps(settings), "-wait-after", "2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as caller:
            try:
                assert caller.stdout
                assert caller.stdout.readline() == "waiting\n"
                end(first)
                second = start(folder)
                told, errors = caller.communicate("go on\n", timeout=100)
            finally:
                caller.kill()
        end(second)

    assert caller.returncode == 0, errors
    kept: dict[str, Any] = json.loads(told)
    assert kept["calls"] > 1
    assert set(kept["sources"]) == {each["event_id"] for each in events}
    assert len(kept["ids"]) == len(set(kept["ids"])) == len(kept["sources"])
    assert kept["status"] == "STATUS_SUCCEEDED"


def build(source: str | Path, module: Path, output: Path) -> Path:
    """Build a program in the surroundings of a module."""
    done = subprocess.run(
        ["go", "build", "-buildvcs=false", "-trimpath", PLAIN, "-o", str(output), str(source)],
        cwd=module,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    check_go(done)
    return output


def link_shown(folder: Path) -> None:
    """Link the programs that the page shows: the first with the SDK, the second with Connect."""
    text = PAGE.read_text(encoding="utf-8")
    syncs, lists = re.findall(r"^```go\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for name, shown, module in (("syncs", syncs, "sdk"), ("lists", lists, "connect")):
        source = folder / f"{name}.go"
        source.write_text(shown)
        build(source, GO / module, folder / name)


def test_the_programs_that_the_page_shows_do_what_it_says(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    linked = linked_once(tmp_path_factory, "page-of-callers", link_shown)
    programs = [linked / name for name in ("syncs", "lists")]
    with serving() as served:

        def run(*command: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(word) for word in command],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )

        first, second = (run(programs[0], served.folder, "acme/bare") for _ in range(2))
        failed = run(programs[0], served.folder, "acme/unheard")
        listed = run(programs[1], served.socket)

    origin = Origin("acme/bare@1.2.0", "org_1", "int_1", "BOX")
    expected = [f"{envelope_id(origin, f'e{number}')} event" for number in range(4)]
    assert first.stdout.splitlines() + second.stdout.splitlines() == expected, first.stderr
    assert first.stderr.endswith(" 2 of 2\n")
    assert (tmp_path / "cursor").read_bytes() == b"4"
    assert failed.returncode == 1
    assert "not-installed: `acme/unheard` is not installed" in failed.stderr
    assert "acme/bare 1.2.0 connector" in listed.stdout


def test_connect_as_the_product_has_it_speaks_with_the_host(built: Path) -> None:
    with serving() as served:
        done = subprocess.run(
            [built / "connect", served.socket],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["version"] == aperio_cli.__version__
    assert "acme/bare" in seen["plugins"]
    assert [each.rpartition("_")[2] for each in seen["items"]] == ["", "Checkpoint", "Receipt"]
    origin = Origin("acme/bare@1.2.0", "acme-corp", "connect", "BOX")
    assert seen["ids"] == [envelope_id(origin, "e0"), envelope_id(origin, "e1")]
    assert (seen["status"], seen["code"]) == ("not_found", "not-installed")
