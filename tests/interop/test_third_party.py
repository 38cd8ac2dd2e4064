"""A plugin written by people who never saw this project: a Terraform provider."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aperio_cli.host.launch import RunningPlugin
from aperio_cli.host.lifecycle import Event
from aperio_cli.host.options import LaunchOptions
from aperio_cli.host.run import Run
from aperio_cli.host.wire.handshake import Dialect
from tests.interop.conftest import HURRIED, OurHost, check_go
from tests.process.conftest import is_alive

pytestmark = [pytest.mark.go, pytest.mark.slow, pytest.mark.timeout(600)]

PROVIDER = "github.com/hashicorp/terraform-provider-time@v0.13.1"
_BUILD_TIMEOUT_S = 500.0
# hashicorp/terraform-plugin-go, tfprotov5/tf5server/server.go (ServeConfig).
TERRAFORM = Dialect(
    (
        "TF_PLUGIN_MAGIC_COOKIE",
        "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    ),
    (5,),
)
_GET_SCHEMA = "/tfplugin5.Provider/GetSchema"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider, built from the module that its makers published.

    `make test-all` has built it, where the module proxy may be asked; else it is built here.
    """
    if built := shutil.which("terraform-provider-time"):
        return Path(built)
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    folder = tmp_path_factory.mktemp("provider")
    done = subprocess.run(
        ["go", "install", "-buildvcs=false", PROVIDER],
        env=os.environ | {"GOBIN": str(folder), "GOFLAGS": "", "CGO_ENABLED": "0"},
        cwd=folder,
        capture_output=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
        text=True,
    )
    check_go(done)
    return folder / "terraform-provider-time"


@pytest.mark.parametrize("mtls", [False, True], ids=["plain", "mtls"])
def test_a_terraform_provider_starts_tells_its_schema_and_stops(
    our_host: OurHost, provider: Path, *, mtls: bool
) -> None:
    from google.protobuf.empty_pb2 import Empty

    our_host.plugin = provider
    program = replace(our_host.program(), dialect=TERRAFORM)

    async def main() -> tuple[int, bytes]:
        options = LaunchOptions(our_host.runtime_base, patience=HURRIED, mtls=mtls)
        run = Run(program, options, our_host.logs.append)
        try:
            await run.drive(Event.START)
            # An Empty keeps the answer as unknown fields.
            answer = await run.calls.unary(_GET_SCHEMA, Empty(), Empty, timeout_s=20)
            return RunningPlugin(run).pid, answer.SerializeToString()
        finally:
            await run.stop()

    pid, schema = asyncio.run(main())

    for resource in (b"time_sleep", b"time_rotating", b"time_offset", b"time_static"):
        assert resource in schema
    assert not is_alive(pid)
    assert not [record for record in our_host.logs if record.level == "error"]


def test_a_terraform_provider_refuses_a_host_with_another_cookie(
    our_host: OurHost, provider: Path
) -> None:
    from aperio_cli.errors.running import PluginExitedEarly

    our_host.plugin = provider

    with pytest.raises(PluginExitedEarly, match="exited before we could connect"):
        our_host.run()
