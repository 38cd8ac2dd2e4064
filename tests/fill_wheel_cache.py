"""Fills .cache/wheels with every wheel that the tests install, so that they need no network.

The locks of the project template and of the reference plugin say what is needed: for this
interpreter on this machine, and the template's also for linux/arm64. Quick when nothing is
missing. Run by `make setup`; pip finds its index as it is configured for this user.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from aperio_cli.building.dependencies import Target, platform_tags
from aperio_cli.building.lock import Lock, parse_lock
from aperio_cli.models.platform import Platform

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "wheels"
TEMPLATE_LOCK = next((ROOT / "plugin_templates" / "python").glob("*/requirements.lock"))
PLUGIN_LOCK = ROOT / "plugins" / "box" / "requirements.lock"
OWN = "aperio-plugin-sdk"  # made from the source beside it, never downloaded
DEADLINE_S = 900


def main() -> int:
    """Downloads what is missing; the exit status is pip's first that is not 0."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    here = Target(tag, Platform.of_machine(platform.system(), platform.machine()))
    wanted = [(TEMPLATE_LOCK, here), (TEMPLATE_LOCK, Target(tag, Platform("linux", "arm64")))]
    if PLUGIN_LOCK.is_file():
        wanted.append((PLUGIN_LOCK, here))
    for path, target in wanted:
        if status := fill(path, target):
            return status
    return 0


def fill(path: Path, target: Target) -> int:
    """Downloads the wheels of one lock for one target, unless a listing shows them all there."""
    requirements = "".join(
        f"{pin.to_requirement()}\n" for pin in read(path).pins if pin.name != OWN
    )
    key = hashlib.sha256(f"{target}\n{requirements}".encode()).hexdigest()[:16]
    listing = CACHE / f"complete-{key}.txt"
    what = f"{path.relative_to(ROOT)} for {target}"
    if listing.is_file() and all((CACHE / name).is_file() for name in listing.read_text().split()):
        say(f"{what}: complete")
        return 0
    say(f"{what}: downloading")
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        status = download(requirements, target, Path(folder))
        if status:
            say(f"{what}: pip failed with status {status}")
            return status
        wheels = sorted(Path(folder).glob("*.whl"))
        for wheel in wheels:
            wheel.rename(CACHE / wheel.name)
    listing.write_text("".join(f"{wheel.name}\n" for wheel in wheels))
    return 0


def say(message: str) -> None:
    """Prints one line at once, before a download makes it wait."""
    sys.stdout.write(f"wheel cache: {message}\n")
    sys.stdout.flush()


def read(path: Path) -> Lock:
    """The lock, also when it is still a template: the SDK's entry is the only one rendered."""
    text = path.read_text()
    kept = text[: text.index(OWN)] if "{{" in text else text
    return parse_lock(kept.encode(), path)


def download(requirements: str, target: Target, folder: Path) -> int:
    """Downloads into a folder with pip, showing what it prints, and gives its exit status."""
    listed = folder / "requirements.txt"
    listed.write_text(requirements)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"),
        *("--only-binary=:all:", "--implementation=cp", f"--abi={target.tag}"),
        f"--python-version={target.python_version}",
        *(f"--platform={tag}" for tag in platform_tags(target.platform)),
        f"--find-links={CACHE}",
        f"--dest={folder}",
        f"--requirement={listed}",
    ]
    return subprocess.run(command, check=False, timeout=DEADLINE_S).returncode


if __name__ == "__main__":
    raise SystemExit(main())
