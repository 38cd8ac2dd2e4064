"""The helper that opens a plugin's door for an ordinary user: never waited for without an end."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.sandbox import network

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN_S = 20.0
HANGS = "import threading; threading.Event().wait()"
BREAKS = "import sys; sys.exit('setns: not today')"


def ends(work: Callable[[], object]) -> list[OSError]:
    """What it raised, once it has come to an end."""
    raised: list[OSError] = []

    def attempt() -> None:
        try:
            work()
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    return raised


@pytest.mark.parametrize(("helper", "why"), [(HANGS, "timed out"), (BREAKS, "setns: not today")])
def test_a_helper_that_does_not_do_its_work_is_given_up(
    helper: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_HELPER", helper)
    monkeypatch.setattr(network, "_HELPER_TIMEOUT_S", 2.0)
    [error] = ends(lambda: network._by_helper(os.getpid(), [("127.0.0.1", 0)]))
    assert why in str(error)
