from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding.go_sdk import FOLDER
from aperio_cli.scaffolding.wheel import sdk_wheel
from tests.projects import ROOT, write

if TYPE_CHECKING:
    from pathlib import Path

LOCK = f"aperio-plugin-sdk==0.0.1 --hash=sha256:{'ab' * 32}\n"


@pytest.fixture(scope="module")
def script() -> Any:
    path = ROOT / "plugins" / "refresh_sdk.py"
    spec = importlib.util.spec_from_file_location("refresh_sdk", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_project_gets_the_wheel_once(script: Any, tmp_path: Path) -> None:
    write(tmp_path, "requirements.lock", LOCK)
    assert " refreshed (sha256:" in script.refreshed(tmp_path)
    assert " up to date (sha256:" in script.refreshed(tmp_path)
    assert list((tmp_path / "vendor").glob("aperio_plugin_sdk-*.whl"))


def test_a_go_project_gets_the_module(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "go.mod", "module example.com/x\n")
    assert script.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}: {FOLDER} refreshed")
    assert (tmp_path / FOLDER / "go.mod").is_file()


def test_a_release_gets_the_wheel_that_projects_have(script: Any, tmp_path: Path) -> None:
    assert script.main(["--into", str(tmp_path)]) == 0
    [made] = tmp_path.glob("*.whl")
    assert (made.name, made.read_bytes()) == (sdk_wheel().file_name, sdk_wheel().data)
