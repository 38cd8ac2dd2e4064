"""sigstore-python's command, each forked from one process that has imported it.

To import it takes five times as long as to sign. Little is imported here, since every fork does.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN_TIMEOUT_S = 100.0

_FORKS = multiprocessing.get_context("forkserver")


def run_sigstore(words: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `sigstore` to its end.

    Args:
        words: what is typed after it.
        env: its whole environment.

    Raises:
        subprocess.TimeoutExpired: it took longer than 100 s; it was killed.
    """
    _FORKS.set_forkserver_preload(["sigstore._cli"])
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("out", "err")]
        process = _FORKS.Process(target=_be_sigstore, args=(list(words), dict(env), said))
        process.start()
        process.join(RUN_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired("sigstore", RUN_TIMEOUT_S)
        texts = [path.read_text("utf-8") for path in said]
        return subprocess.CompletedProcess(list(words), process.exitcode, *texts)


def _be_sigstore(words: list[str], env: dict[str, str], said: list[Path]) -> None:
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["sigstore", *words]
    from sigstore._cli import main

    main()
