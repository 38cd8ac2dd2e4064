"""Put the SDKs of this checkout into its own plugins, as `plugin init` does for a new project.

    python plugins/refresh_sdk.py PROJECT...
    python plugins/refresh_sdk.py --into FOLDER

A Python project gets the wheel in `vendor/` and its line in requirements.lock, a Go project the
module in `third_party/`. With `--into` the wheel is written there instead, for a release: what an
index has under this version must be the file that projects have locked, or pip would take the
index's and refuse it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aperio_cli.files.writing import write_atomic
from aperio_cli.scaffolding.go_sdk import FOLDER, go_sdk
from aperio_cli.scaffolding.wheel import refresh, sdk_wheel


def refreshed(project: Path) -> str:
    """Refresh one project, and say what was done."""
    if (project / "go.mod").exists():
        module = go_sdk()
        module.put_into(project)
        return f"{FOLDER} refreshed ({module.module} {module.version})"
    wheel = sdk_wheel()
    state = "refreshed" if refresh(project, wheel) else "up to date"
    return f"{wheel.file_name} {state} ({wheel.digest})"


def main(arguments: list[str]) -> int:
    """Refresh the projects named, or write the wheel into a folder; print a line for each."""
    if arguments[:1] == ["--into"]:
        wheel = sdk_wheel()
        write_atomic(Path(arguments[1]) / wheel.file_name, wheel.data)
        return 0
    for argument in arguments:
        sys.stdout.write(f"{argument}: {refreshed(Path(argument))}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
