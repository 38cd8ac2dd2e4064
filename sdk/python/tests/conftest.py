"""Fixtures of the SDK's tests; `sdk_host` has the host that they start plugins with."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves it out

from sdk_host import COOKIE, PRELUDE, Launch, Plugin

from tests.forked_plugins import Forking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture
def socket_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def launch(tmp_path: Path, socket_folder: Path) -> Iterator[Launch]:
    """Give a function that starts a plugin, as `Launch` says."""
    plugins: list[Plugin] = []

    def start(
        body: str = "connector.serve(Plain())",
        *,
        before: str = "",
        environment: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        anew: bool = False,
    ) -> Plugin:
        script = tmp_path / f"plugin_{len(plugins)}.py"
        script.write_text(PRELUDE.format(before=before) + textwrap.dedent(body), encoding="utf-8")
        default = {**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(socket_folder)}
        # TMPDIR: a killed plugin's socket must not stay behind in /tmp.
        popen = subprocess if before or pass_fds or anew else Forking
        process = popen.Popen(
            (sys.executable, "-I", "-B", str(script)),
            env={"TMPDIR": str(socket_folder)}
            | dict(default if environment is None else environment),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        plugin = Plugin(process)
        plugins.append(plugin)
        return plugin.begin()

    yield start
    for plugin in plugins:
        plugin.end()
