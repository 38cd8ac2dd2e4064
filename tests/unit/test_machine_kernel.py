"""Calls of the kernel are the same where Python has them and where it was built without them."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import select
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from aperio_cli.machine import kernel

WITHIN_MS = 20_000


@pytest.fixture(params=["as Python has them", "as the kernel has them"], autouse=True)
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python with these calls, and Python without them."""
    if request.param == "as the kernel has them":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)


def test_a_process_is_signalled_and_seen_to_end_by_its_descriptor() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        descriptor = kernel.pidfd_open(process.pid)
        try:
            assert not os.get_inheritable(descriptor)
            assert not select.select([descriptor], [], [], 0)[0]
            kernel.pidfd_send_signal(descriptor, signal.SIGTERM)
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            assert ended.poll(WITHIN_MS)
            assert process.wait() == -signal.SIGTERM
            with pytest.raises(ProcessLookupError):
                kernel.pidfd_send_signal(descriptor, signal.SIGTERM)
        finally:
            os.close(descriptor)
    with pytest.raises(ProcessLookupError):
        kernel.pidfd_open(process.pid)


def test_memory_is_made_and_sealed() -> None:
    descriptor = kernel.memfd_create("näme", kernel.MFD_CLOEXEC | kernel.MFD_ALLOW_SEALING)
    try:
        assert not os.get_inheritable(descriptor)
        assert Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("memfd:näme")
        assert os.write(descriptor, b"all of it") == 9
        seals = kernel.F_SEAL_SEAL | kernel.F_SEAL_SHRINK | kernel.F_SEAL_GROW | kernel.F_SEAL_WRITE
        fcntl.fcntl(descriptor, kernel.F_ADD_SEALS, seals)
        for deed in (lambda: os.write(descriptor, b"more"), lambda: os.ftruncate(descriptor, 1)):
            with pytest.raises(PermissionError):
                deed()
        assert os.pread(descriptor, 20, 0) == b"all of it"
    finally:
        os.close(descriptor)


def test_what_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        kernel.memfd_create("x", 0x4000_0000)
    assert caught.value.errno == errno.EINVAL


def test_numbers_are_those_that_python_has_names_for() -> None:
    for where, name in ((os, "MFD_CLOEXEC"), (os, "MFD_ALLOW_SEALING"), (fcntl, "F_ADD_SEALS"),
                        (fcntl, "F_SEAL_SEAL"), (fcntl, "F_SEAL_SHRINK"), (fcntl, "F_SEAL_GROW"),
                        (fcntl, "F_SEAL_WRITE")):  # fmt: skip
        assert getattr(where, name, getattr(kernel, name)) == getattr(kernel, name)


@pytest.mark.parametrize("machine", ["riscv64", "darwin"])
def test_where_they_are_unknown_they_fail_as_on_an_old_kernel(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    if machine == "darwin":
        monkeypatch.setattr(kernel, "sys", SimpleNamespace(platform="darwin"))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        kernel.memfd_create("x", 0)
