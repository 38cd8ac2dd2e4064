"""Generate the Go protobuf code of `sdk/go/gen` from the files in this folder, and that of plugins.

    python proto/generate_go.py

go-plugin's own messages are not generated: the Go SDK takes them from hashicorp/go-plugin. The
output is the same for the same versions of the generators, `GENERATORS`; a test compares it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Code:
    """Go code that is made of protos.

    Attributes:
        protos: the folder that they stand in, below `aperio`.
        output: the folder of the code; it has nothing else.
        module: the import path of that folder.
    """

    protos: Path
    output: Path
    module: str


SDK: Final = Code(
    ROOT / "proto", ROOT / "sdk" / "go" / "gen", "github.com/writer/aperio-plugin-go/gen"
)
_JETSTREAM: Final = ROOT / "plugins" / "nats-jetstream"
BUS: Final = Code(
    _JETSTREAM / "proto",
    _JETSTREAM / "busv1",
    "github.com/writer/aperio/plugins/nats-jetstream/busv1",
)
ALL: Final = (SDK, BUS)

GENERATORS: Final = {"protoc-gen-go": "v1.36.12", "protoc-gen-go-grpc": "1.6.2"}
"""The programs that protoc runs, and the versions that made the committed code."""

_VERSION_TIMEOUT_S = 30.0


class GeneratorMissing(Exception):
    """A generator is not on PATH nor in the `bin` folder of GOPATH, or has another version."""


def find_generators() -> dict[str, str]:
    """Give the path of each generator.

    Raises:
        GeneratorMissing: naming the one that is missing, or its version.
    """
    go_path = os.environ.get("GOPATH") or str(Path.home() / "go")
    places = os.pathsep.join((os.environ.get("PATH", ""), str(Path(go_path, "bin"))))
    found = {}
    for name, version in GENERATORS.items():
        path = shutil.which(name, path=places)
        if path is None:
            raise GeneratorMissing(f"{name} {version} is not on PATH")
        run = subprocess.run(
            [path, "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
        )
        if (known := run.stdout.split()[-1]) != version:
            raise GeneratorMissing(f"{path} is version {known}, {version} is needed")
        found[name] = path
    return found


def generate(code: Code, output: Path) -> None:
    """Write the Go packages of some protos to `output`, which is replaced.

    Raises:
        GeneratorMissing: see `find_generators`.
        SystemExit: when protoc refuses a file.
    """
    plugins = [f"--plugin={name}={path}" for name, path in find_generators().items()]
    found = (code.protos / "aperio").rglob("*.proto")
    sources = sorted(str(path.relative_to(code.protos)) for path in found)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            "protoc",
            f"-I{code.protos}",
            f"-I{files('grpc_tools') / '_proto'}",
            *plugins,
            f"--go_out={scratch}",
            f"--go_opt=module={code.module}",
            f"--go-grpc_out={scratch}",
            f"--go-grpc_opt=module={code.module}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            sys.exit("protoc refused the files above")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(scratch, output)
    output.chmod(0o755)  # the scratch folder is private


if __name__ == "__main__":
    try:
        for code in ALL:
            generate(code, code.output)
    except GeneratorMissing as missing:
        sys.exit(f"{missing}; `go install` it")
