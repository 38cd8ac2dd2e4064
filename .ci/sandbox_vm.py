"""Run the tests of the sandbox in a Debian guest, where systemd and control groups v2 are real.

    python .ci/sandbox_vm.py [PYTEST ARGUMENT ...]

Needs root and the network, once: Debian's packages come from wherever apt of this machine gets its
own. The guest has no network. It is a copy that nothing is written back to: QEMU runs it with KVM
where /dev/kvm is, and emulates it elsewhere, which takes about ten times as long. What happens in
it stands in `sandbox_vm_guest.py`. The exit status is that of the guest: 0 when all went well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / ".cache" / "sandbox-vm"
SUITE: Final = "bookworm"
PYTHON: Final = (3, 11)
"""Of that suite: the packages of this project's environment are used in the guest."""

TOOLS: Final = {
    "debootstrap": "debootstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "mke2fs": "e2fsprogs",
}
PACKAGES: Final = (
    "bubblewrap", "ca-certificates", "curl", "dbus", "dbus-user-session", "initramfs-tools",
    "libpam-systemd", "linux-image-cloud-amd64", "openssl", "procps", "python3", "systemd-sysv",
    "util-linux",
)  # fmt: skip
IMAGE_BYTES: Final = 2 * 1024**3
GUEST_TIMEOUT_S: Final = 6600
_LEFT_OUT: Final = {"mypy", "ruff", "mypyc"}
_UNIT: Final = """[Unit]
Description=Tests of the sandbox
After=multi-user.target dbus.service systemd-logind.service systemd-user-sessions.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=PYTHONPATH=/opt/aperio/packages PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
ExecStart=/usr/bin/python3 /opt/aperio/checkout/.ci/sandbox_vm_guest.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""
# A login prompt on the terminal that the tests write to would take it from them.
_KERNEL: Final = (
    "root=/dev/vda rw console=ttyS0 quiet panic=-1"
    " systemd.show_status=no systemd.mask=serial-getty@ttyS0.service"
)
_TABLE: Final = "/dev/vda / ext4 rw 0 1\n/dev/vdb /opt/aperio ext4 ro 0 2\n"


def main(arguments: list[str]) -> int:
    """Build what is missing, run the guest, return its exit status."""
    if os.geteuid():
        return _say("a guest is built by root: debootstrap makes devices and changes owners")
    if sys.version_info[:2] != PYTHON:
        return _say(f"{SUITE} has Python 3.11: make the environment of this project with that one")
    missing = sorted(package for tool, package in TOOLS.items() if not shutil.which(tool))
    if missing:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, check=True, env=environment)
    system = _system()
    with tempfile.TemporaryDirectory(prefix="aperio-vm-", dir=CACHE) as folder:
        work = _work(Path(folder), arguments)
        return _run(system, work, Path(folder) / "status")


def _say(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


def _system() -> Path:
    """Return the folder with the guest's image, its kernel and its first file system."""
    parts = repr((PACKAGES, _UNIT, _TABLE)).encode()  # another image once one of them changes
    made = CACHE / f"{SUITE}-{hashlib.sha256(parts).hexdigest()[:12]}"
    if (made / "system.img").exists():
        return made
    root = CACHE / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(PACKAGES)}"
    command = ["debootstrap", "--variant=minbase", include, SUITE, str(root), _apt_source()]
    subprocess.run(command, check=True)
    (root / "etc" / "fstab").write_text(_TABLE)
    (root / "opt" / "aperio").mkdir(parents=True)
    units = root / "etc" / "systemd" / "system"
    (units / "sandbox-tests.service").write_text(_UNIT)
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "sandbox-tests.service").symlink_to("/etc/systemd/system/sandbox-tests.service")
    made.mkdir(exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(next((root / "boot").glob(f"{name}-*")), made / name)
    _image(root, made / "system.part", IMAGE_BYTES)
    (made / "system.part").rename(made / "system.img")
    shutil.rmtree(root)
    return made


def _apt_source() -> str:
    """Return where apt of this machine gets the suite from.

    Raises:
        SystemExit: it gets it from nowhere.
    """
    wanted = "$(REPO_URI) $(CODENAME) $(ORIGIN)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted], check=True, capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        address, *what = line.split()
        if what == [SUITE, "Debian"]:
            return address
    sys.exit(f"apt of this machine has no source of Debian {SUITE}: add one, `apt-get update`")


def _work(folder: Path, arguments: list[str]) -> Path:
    """Return an image with the checkout as it is, and the packages that the tests need."""
    tree = folder / "tree"
    checkout = tree / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    (checkout / ".ci" / "sandbox_vm_arguments").write_text("\n".join(arguments))
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    shutil.copytree(packages, tree / "packages", ignore=shutil.ignore_patterns(*_LEFT_OUT))
    size_bytes = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    image = folder / "work.img"
    _image(tree, image, 2 * size_bytes + 64 * 1024**2)
    shutil.rmtree(tree)
    return image


def _image(tree: Path, image: Path, size_bytes: int) -> None:
    """Write a file system with a tree of files; nothing has to be mounted for that."""
    size = f"{size_bytes // 1024}k"
    made = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", str(tree), str(image), size]
    subprocess.run(made, check=True)


def _run(system: Path, work: Path, status: Path) -> int:
    """Run the guest to its end, and return what it said at last; 1 when it said nothing."""
    command = ["qemu-system-x86_64", "-m", "3072", "-smp", "2", "-nographic", "-no-reboot"]
    command += ["-nic", "none", "-monitor", "none"]
    command += ["-serial", "stdio", "-serial", f"file:{status}"]
    for image in (system / "system.img", work):
        command += ["-drive", f"file={image},if=virtio,format=raw,snapshot=on"]
    command += ["-kernel", str(system / "vmlinuz"), "-initrd", str(system / "initrd.img")]
    command += ["-append", _KERNEL]
    said = ""
    for accelerator, patience_s in _accelerators():
        said = _guest([*command, *accelerator], status, patience_s)
        if said:
            break
        _say(f"nothing ran in QEMU with {accelerator[1]}")
    result = said.split()[-1] if said else ""
    return int(result) if result.isdigit() else _say("the guest ended without a result")


def _guest(command: list[str], status: Path, patience_s: float) -> str:
    """Run the guest, and return what it said; nothing when it has not even begun in time."""
    status.unlink(missing_ok=True)
    deadline_s = time.monotonic() + patience_s
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as guest:
        while guest.poll() is None and time.monotonic() < deadline_s:
            if status.exists() and "begun" in status.read_text():
                deadline_s = time.monotonic() + GUEST_TIMEOUT_S
                break
            time.sleep(0.5)
        try:
            guest.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            guest.kill()
    return status.read_text() if status.exists() else ""


def _accelerators() -> list[tuple[tuple[str, ...], float]]:
    """Return what to try, each with the seconds that it may take to begin.

    Of a machine that is a guest itself /dev/kvm may fail, or stand still.
    """
    slow = ("-accel", "tcg,thread=multi", "-cpu", "max"), 600.0
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return [slow]
    # Without the one register that a host which is a guest may not set.
    return [(("-accel", "kvm", "-cpu", "host,-arch-capabilities"), 60.0), slow]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
