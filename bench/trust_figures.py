"""What verification costs, against what anybody pays who checks a signature and a digest by hand.

The artifact is a Go plugin's: one binary, 20 MB when packed. Importing sigstore is most of the work
on both sides, so it stands on both; what is left is ours.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from figures import TIMEOUT_S, Figure, in_ms, paired, run

from aperio_cli.archive import writing
from aperio_cli.commands.signing import SigningOptions, open_signing_domain
from aperio_cli.context import Context, Settings
from aperio_cli.models.artifact import artifact_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.platform import Platform
from aperio_cli.models.registry.documents import ROOT_FILE
from aperio_cli.signing import sign_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APERIO: Final = Path(sys.executable).with_name("aperio")
PLUGIN_ID: Final = "bench/trust-bench"
PACKED_BYTES: Final = 20_000_000
IMPORT: Final = f"'{sys.executable}' -c 'import sigstore.verify'"
MANIFEST: Final = f"""\
schema: aperio.plugin.manifest/v1
id: {PLUGIN_ID}
version: 0.1.0
kind: connector
provider: BENCH
name: Bench
description: Is long
license: MIT
protocol: "1.0"
runtime:
  language: go
entrypoint: plugin
"""


def measure(folder: Path, environment: Mapping[str, str], rounds: int) -> list[Figure]:
    """The figures of verifying and installing a signed artifact.

    Args:
        folder: one that is not there yet, for the artifact and a registry.
        environment: of the `aperio` whose home has a local trust domain.
        rounds: how often each is measured.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    folder.mkdir()
    bench = Bench(folder, environment, rounds)
    artifact = bench.pack()
    bench.aperio("plugin", "sign", "dist", "--trust", "local")
    figures = [verify_figure(bench, artifact)]
    for words in (("init", "registry"), ("add", "dist", "--dir", "registry")):
        bench.aperio("registry", *words)
    bench.aperio("registry", "build", "--dir", "registry")
    home = Path(environment["APERIO_HOME"])
    identity = sign_root(home, folder / "registry" / "public" / ROOT_FILE)
    config = home / "config.toml"
    with bench.served() as url:
        stated = f'url = "{url}"\ndomain = "local"\nidentity = "{identity}"\n'
        config.write_text(f"[[registries]]\n{stated}")
        try:
            return [*figures, install_figure(bench, artifact, url)]
        finally:
            config.unlink()


def sign_root(home: Path, root: Path) -> str:
    """Sign the root of a registry in the local domain of a home; give the identity that signed."""
    context = Context(Settings(home=str(home)))
    asked = SigningOptions("bench", "local", "", out_of_band=False)
    domain = open_signing_domain(context, asked)
    return sign_file(root, Digest.of(root.read_bytes()), domain=domain).signer.identity


@dataclass(frozen=True, slots=True)
class Bench:
    """What both figures need.

    Attributes:
        folder: where everything is made.
        environment: of every process.
        rounds: how often each is measured.
    """

    folder: Path
    environment: Mapping[str, str]
    rounds: int

    def aperio(self, *words: str) -> None:
        """Run a command that is not measured."""
        subprocess.run(
            [str(APERIO), *words], cwd=self.folder, env=self.environment, check=True,
            timeout=TIMEOUT_S, capture_output=True,
        )  # fmt: skip

    def pack(self) -> Path:
        """Write the artifact into `dist`."""
        manifest = Manifest.parse(MANIFEST.encode())
        here = Platform.of_machine(platform.system(), platform.machine())
        artifact = self.folder / "dist" / artifact_name(manifest, here)
        artifact.parent.mkdir()
        binary = self.folder / "plugin"
        binary.write_bytes(machine_code(PACKED_BYTES))
        members = [
            writing.Member("manifest.yaml", MANIFEST.encode()),
            writing.Member("LICENSE", b"MIT\n"),
            writing.Member("bin/plugin", binary, executable=True),
        ]
        writing.write(artifact, members, mtime=0)
        return artifact

    def shell(self, script: str) -> float:
        """Seconds that a line of shell takes."""
        return run(("sh", "-c", f"set -e; cd '{self.folder}'; {script}"), self.environment)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The registry on 127.0.0.1 for the length of a `with` block; gives its address."""
        with subprocess.Popen(
            [str(APERIO), "registry", "serve", "registry"], cwd=self.folder, env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as server:  # fmt: skip
            try:
                yield (server.stdout.readline() if server.stdout else "").strip()
            finally:
                server.terminate()


def machine_code(packed_bytes: int) -> bytes:
    """So many bytes of a program, when packed: those of cryptography's library, again and again."""
    files = distribution("cryptography").files or []
    library = max(Path(str(file.locate())) for file in files if file.suffix in {".so", ".pyd"})
    code = library.read_bytes()
    packed = len(zlib.compress(code))
    return code * (packed_bytes // packed) + code[: len(code) * (packed_bytes % packed) // packed]


# ── the figures ───────────────────────────────────────────────────────────────────────────────────


def verify_figure(bench: Bench, artifact: Path) -> Figure:
    """`plugin verify` without a network, against the import and a digest."""
    command = (str(APERIO), "plugin", "verify", str(artifact), "--offline", "--quiet")
    ours, theirs = paired(
        lambda: run(command, bench.environment),
        lambda: bench.shell(f"{IMPORT}; sha256sum '{artifact}'"),
        bench.rounds,
    )
    return Figure(
        name="plugin verify of 20 MB, to `import sigstore.verify` and sha256sum",
        value=ours / theirs,
        at_most=1.75,
        detail=in_ms(ours, theirs),
    )


def install_figure(bench: Bench, artifact: Path, registry: str) -> Figure:
    """`plugin install` from a signed registry, against a download, a digest, tar and the import."""
    public = bench.folder / "registry" / "public"
    served = next(public.rglob(artifact.name)).relative_to(public)
    address = f"{registry}{served}"
    bench.shell(f"curl -fsS '{address}' -o downloaded; cmp downloaded '{artifact}'")
    command = (str(APERIO), "plugin", "install", PLUGIN_ID, "-qy", "--registry", registry)

    def ours() -> float:
        # As if it were seen for the first time: nothing of it is cached, its root is verified.
        (Path(bench.environment["APERIO_HOME"]) / "trust" / "signed-documents.json").unlink(
            missing_ok=True
        )
        shutil.rmtree(Path(bench.environment["APERIO_HOME"]) / "cache", ignore_errors=True)
        took_s = run(command, bench.environment)
        bench.aperio("plugin", "remove", PLUGIN_ID, "--yes")
        return took_s

    def theirs() -> float:
        shutil.rmtree(bench.folder / "out", ignore_errors=True)
        (bench.folder / "out").mkdir()
        return bench.shell(
            f"curl -fsS '{address}' | sha256sum; tar -xzf '{artifact}' -C out; {IMPORT}"
        )

    first, second = paired(ours, theirs, bench.rounds)
    return Figure(
        name="plugin install of 20 MB, signed root, to curl, sha256sum, tar and that import",
        value=first / second,
        at_most=1.5,
        detail=in_ms(first, second),
    )
