"""The instances that the suites run on, each started once for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sigstack import instances, stack, tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sigstack.instances import Instance
    from tests.sigstack.stack import Stack

# `sandbox` and `go`: what these need may be missing on a machine, but never in CI. The first test
# of them all waits for the programs to be built, unless `make sigstack` did that before.
REAL = (
    pytest.mark.slow,
    pytest.mark.go,
    pytest.mark.sandbox,
    pytest.mark.timeout(5 * tools.BUILD_TIMEOUT_S),
)


@pytest.fixture(scope="session", name="real_stack")
def _real_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services; skips where they cannot be."""
    try:
        with stack.running(tmp_path_factory.mktemp("sigstack")) as running:
            yield running
    except (tools.NotBuilt, stack.NamespacesMissing) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=REAL)])
def instance(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """Each instance in turn."""
    if request.param == "real":
        yield request.getfixturevalue("real_stack")
        return
    with instances.embedded(tmp_path_factory.mktemp("embedded")) as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> dict[str, str]:
    """The environment of a client's command, with a home of its own."""
    home = tmp_path / "client"
    home.mkdir()
    return instances.environment(home)
