"""Stage 2, build: a Project becomes Artifacts; `develop` makes one runnable in place."""

from aperio_cli.building.agreement import placeholders
from aperio_cli.building.checks import check_reproducible
from aperio_cli.building.development import develop, develop_artifact
from aperio_cli.building.pack import BuildRequest, build, build_and_tell
from aperio_cli.building.project import load_project

__all__ = [
    "BuildRequest",
    "build",
    "build_and_tell",
    "check_reproducible",
    "develop",
    "develop_artifact",
    "load_project",
    "placeholders",
]
