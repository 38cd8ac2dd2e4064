"""Fills .cache/wheels with every wheel that the tests install, so that they need no network.

    python tests/fill_wheel_cache.py plugins    # what plugins depend on
    python tests/fill_wheel_cache.py aperio     # what aperio depends on, and builds with

The locks of the project template and of the reference plugin say what plugins need: the template's
for this interpreter, on this machine and on linux/arm64; the plugin's for those that its manifest
names, which are all that it has hashes for. aperio's own dependencies are
those of this environment, at its versions, and those of the locks that ship with it. Quick when
nothing is missing. Run by `make setup`; pip finds its index as it is configured for this user.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.building.dependencies import Target, platform_tags
from aperio_cli.building.lock import Lock, parse_lock
from aperio_cli.building.project import load_project
from aperio_cli.models.platform import Platform
from aperio_cli.scaffolding.origin import APERIO_LOCK, BUILD_LOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "wheels"
TEMPLATE_LOCK = next((ROOT / "plugin_templates" / "python").glob("*/requirements.lock"))
PLUGIN_LOCK = ROOT / "plugins" / "box" / "requirements.lock"
OWN = "aperio-plugin-sdk"  # made from the source beside it, never downloaded
MADE = {OWN, "aperio-cli"}
BUILD_BACKEND = ("hatchling",)
DEADLINE_S = 900


def main(arguments: Sequence[str]) -> int:
    """Downloads what is missing; the exit status is pip's first that is not 0."""
    CACHE.mkdir(parents=True, exist_ok=True)
    parts = {"plugins": fill_plugins, "aperio": fill_aperio}
    return next((status for name in arguments if (status := parts[name]())), 0)


def fill_plugins() -> int:
    """Downloads what plugins depend on."""
    here = this_machine()
    wanted = [(TEMPLATE_LOCK, here), (TEMPLATE_LOCK, Target(here.tag, Platform("linux", "arm64")))]
    if PLUGIN_LOCK.is_file():
        tags = load_project(PLUGIN_LOCK.parent).manifest.runtime.tags
        wanted += [(PLUGIN_LOCK, Target(tag, here.platform)) for tag in tags]
    return next((status for path, target in wanted if (status := fill_lock(path, target))), 0)


def this_machine() -> Target:
    """Return what this interpreter on this machine takes."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return Target(tag, Platform.of_machine(platform.system(), platform.machine()))


def fill_lock(path: Path, target: Target) -> int:
    """Downloads the wheels of one lock for one target."""
    requirements = "".join(
        f"{pin.to_requirement()}\n" for pin in read(path).pins if pin.name != OWN
    )
    options = [
        *("--require-hashes", "--no-deps", "--implementation=cp", f"--abi={target.tag}"),
        f"--python-version={target.python_version}",
        *(f"--platform={tag}" for tag in platform_tags(target.platform)),
    ]
    return fill(f"{path.relative_to(ROOT)} for {target}", requirements, options)


def fill_aperio() -> int:
    """Download what aperio depends on and is built with: as installed here, and as it is locked."""
    needed = [
        text
        for text in metadata.requires("aperio-cli") or ()
        if not text.startswith(OWN) and "extra ==" not in text
    ]
    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    constraints = "".join(
        f"{name}=={installed[name]}\n" for name in sorted(installed) if name not in MADE
    )
    requirements = "".join(f"{text}\n" for text in (*needed, *BUILD_BACKEND))
    here = this_machine()
    locks = (fill_lock(path, here) for path in (APERIO_LOCK, BUILD_LOCK))
    return fill("aperio", requirements, [], constraints) or next(filter(None, locks), 0)


def fill(what: str, requirements: str, options: Sequence[str], constraints: str = "") -> int:
    """Downloads wheels with these options of pip, unless a listing shows them all there."""
    key = hashlib.sha256(f"{options}\n{requirements}\n{constraints}".encode()).hexdigest()[:16]
    listing = CACHE / f"complete-{key}.txt"
    if listing.is_file() and all((CACHE / name).is_file() for name in listing.read_text().split()):
        say(f"{what}: complete")
        return 0
    say(f"{what}: downloading")
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        bounds = Path(folder) / "constraints.txt"
        bounds.write_text(constraints)
        status = download(requirements, [*options, f"--constraint={bounds}"], Path(folder))
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


def download(requirements: str, options: Sequence[str], folder: Path) -> int:
    """Downloads into a folder with pip, showing what it prints, and gives its exit status."""
    listed = folder / "requirements.txt"
    listed.write_text(requirements)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
        *options,
        f"--find-links={CACHE}",
        f"--dest={folder}",
        f"--requirement={listed}",
    ]
    return subprocess.run(command, check=False, timeout=DEADLINE_S).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
