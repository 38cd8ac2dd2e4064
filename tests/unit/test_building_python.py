from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building.python import development_script, launcher, starting_script
from tests.projects import TAG, VERSION, write
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = sys._base_executable  # type: ignore[attr-defined]  # undocumented
SHOW = "import sys\nprint(__name__, __file__, *sys.argv[1:])\n"
SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]


def tree(folder: Path, *, tags: tuple[str, ...] = (TAG,), plugin: str = SHOW) -> Path:
    """What an artifact unpacks to; gives the launcher."""
    write(folder, "lib/app/plugin.py", plugin)
    for tag in tags:
        write(folder, f"lib/{tag}/dependency.py", f"TAG = {tag!r}\n")
    write(folder, "bin/box.py", starting_script())
    path = write(folder, "bin/box", launcher("box", tags))
    path.chmod(0o755)
    return path


def run(
    *command: str | Path, path: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd="/",
        env={"PATH": path or os.defpath, **environment},
    )


def python_on(folder: Path, version: str = VERSION) -> str:
    """A search path that has this interpreter as pythonX.Y, and the usual tools."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"python{version}").symlink_to(BASE)
    return f"{folder}:{os.defpath}"


def test_starting_script_runs_plugin_as_main(tmp_path: Path) -> None:
    tree(tmp_path)
    ran = run(sys.executable, "-I", "-B", tmp_path / "bin/box.py", "one")
    assert ran.stdout.split() == ["__main__", str(tmp_path / "lib/app/plugin.py"), "one"]
    assert ran.stderr == ""


def test_starting_script_finds_dependencies_and_own_modules(tmp_path: Path) -> None:
    tree(tmp_path, plugin="import dependency, client\nprint(dependency.TAG, client.NAME)\n")
    write(tmp_path, "lib/app/client.py", "NAME = 'own'\n")
    ran = run(sys.executable, "-I", "-B", tmp_path / "bin/box.py")
    assert ran.stdout == f"{TAG} own\n"


def test_starting_script_hides_what_happens_to_be_installed(tmp_path: Path) -> None:
    tree(tmp_path, plugin="import pytest\n")
    ran = run(sys.executable, "-I", "-B", tmp_path / "bin/box.py")
    assert "No module named 'pytest'" in ran.stderr


SITE = """\
import sys, types
import borrowed
sys.modules.setdefault('shared', types.ModuleType('shared')).__path__ = [{site!r} + '/shared']
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == 'elsewhere':
            from importlib.util import spec_from_file_location as found
            return found(name, {site!r} + '/borrowed.py')
Finder.__module__ = 'borrowed'
sys.meta_path.insert(0, Finder)
"""
"""What lines of `.pth` files do: import, declare a namespace, put in a finder."""
FOUND = """\
import borrowed, shared.part
print(borrowed.WHOSE, shared.part.WHOSE)
for name in ('elsewhere', 'edited'):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
"""


def environment_of(folder: Path) -> tuple[Path, Path]:
    """A virtual environment of this interpreter, and its site-packages."""
    write(folder, "pyvenv.cfg", f"home = {Path(BASE).parent}\n")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(BASE)
    return folder / "bin/python", folder / f"lib/python{VERSION}/site-packages"


def copy_of(folder: Path) -> tuple[Path, Path]:
    """An interpreter in a place of its own, and its site-packages."""
    library = folder / f"lib/python{VERSION}"
    library.mkdir(parents=True)
    (folder / "bin").mkdir()
    shutil.copy(os.path.realpath(BASE), folder / f"bin/python{VERSION}")
    for path in Path(os.__file__).parent.iterdir():
        if path.name not in {"site-packages", "dist-packages"}:
            (library / path.name).symlink_to(path)
    for path in Path(os.path.realpath(BASE)).parents[1].glob("lib/libpython*"):
        (folder / "lib" / path.name).symlink_to(path)  # where it loads itself from there
    return folder / f"bin/python{VERSION}", library / "site-packages"


@pytest.mark.parametrize("interpreter", [environment_of, copy_of])
def test_starting_script_takes_back_what_the_interpreters_packages_did(
    tmp_path: Path, interpreter: Callable[[Path], tuple[Path, Path]]
) -> None:
    python, site = interpreter(tmp_path / "interpreter")
    for module in ("borrowed", "shared/part"):
        write(site, f"{module}.py", "WHOSE = 'of the machine'\n")
        write(tmp_path / "tree", f"lib/{TAG}/{module}.py", "WHOSE = 'of the plugin'\n")
    write(tmp_path / "edited", "edited.py", "")
    write(site, "a.pth", f"{tmp_path}/edited\nimport os; exec({SITE.format(site=str(site))!r})\n")
    # That it is as hostile as it claims: without the starting script all of it is the machine's.
    bare = run(python, "-I", "-B", "-c", f"import sys\n{FOUND}")
    assert bare.stdout == "of the machine of the machine\n", bare.stderr
    tree(tmp_path / "tree", plugin=FOUND)
    ran = run(python, "-I", "-B", tmp_path / "tree/bin/box.py")
    assert ran.stdout == (
        "of the plugin of the plugin\nNo module named 'elsewhere'\nNo module named 'edited'\n"
    ), ran.stderr


@each_row("way", ["exit", "quit", "sys.exit"])
@each_row("flags", [("-I", "-S", "-B"), ("-I", "-B")])
def test_starting_script_leaves_a_program_its_ways_to_end(
    tmp_path: Path, way: str, flags: tuple[str, ...]
) -> None:
    tree(tmp_path, plugin=f"import sys\n{way}(3)\n")
    assert run(sys.executable, *flags, tmp_path / "bin/box.py").returncode == 3


def test_without_site_nothing_of_the_interpreters_packages_is_run(tmp_path: Path) -> None:
    python, site = environment_of(tmp_path / "interpreter")
    write(site, "a.pth", "import sys; sys.stderr.write('ran')\n")
    tree(tmp_path / "tree", plugin="")
    script = tmp_path / "tree/bin/box.py"
    assert run(python, "-I", "-S", "-B", script).stderr == ""
    assert "ran" in run(python, "-I", "-B", script).stderr  # that it would be


def test_starting_script_names_the_carried_interpreters_when_none_fits(tmp_path: Path) -> None:
    tree(tmp_path, tags=("cp398", "cp399"))
    ran = run(sys.executable, "-I", "-B", tmp_path / "bin/box.py")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert f"carries dependencies for cp398, cp399, not for {TAG}" in ran.stderr


def test_starting_script_shows_the_authors_lines_in_a_traceback(tmp_path: Path) -> None:
    tree(tmp_path, plugin="def start():\n    raise ValueError('why')\nstart()\n")
    ran = run(sys.executable, "-I", "-B", tmp_path / "bin/box.py")
    assert "lib/app/plugin.py\", line 2, in start\n    raise ValueError('why')" in ran.stderr


def test_starting_script_writes_nothing(tmp_path: Path) -> None:
    tree(tmp_path, plugin="import dependency\n")
    run(sys.executable, "-I", "-B", tmp_path / "bin/box.py")
    assert not list(tmp_path.rglob("__pycache__"))


def test_development_script_runs_what_is_beside_it_whatever_its_path(tmp_path: Path) -> None:
    view = tmp_path / 'a "quoted" {path}\\n'
    write(view, "app/plugin.py", "import dependency\nprint(dependency.TAG)\n")
    library = tmp_path / "library"
    write(library, "dependency.py", "TAG = 'locked'\n")
    script = write(view, "bin/box.py", development_script(library))
    assert run(sys.executable, "-I", "-B", script).stdout == "locked\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_launcher_starts_with_python_from_path(tmp_path: Path, shell: str) -> None:
    box = tree(tmp_path / "with space")
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    ran = run(*command, box, "a b", path=python_on(tmp_path / "programs"))
    assert ran.stdout.endswith("lib/app/plugin.py a b\n")
    assert ran.returncode == 0


def test_launcher_is_found_through_chains_of_links(tmp_path: Path) -> None:
    box = tree(tmp_path / "with space")
    (tmp_path / "absolute link").symlink_to(box)
    (tmp_path / "far").mkdir()
    (tmp_path / "far/relative link").symlink_to("../absolute link")
    ran = run(tmp_path / "far/relative link", path=python_on(tmp_path / "programs"))
    assert ran.stdout.split()[0] == "__main__"


def test_launcher_is_found_through_a_linked_folder(tmp_path: Path) -> None:
    tree(tmp_path / "versions/1.0.0")
    (tmp_path / "current").symlink_to("versions/1.0.0")
    ran = run(tmp_path / "current/bin/box", path=python_on(tmp_path / "programs"))
    assert ran.returncode == 0


def test_launcher_is_found_by_its_name_on_path(tmp_path: Path) -> None:
    box = tree(tmp_path / "tree")
    path = f"{box.parent}:{python_on(tmp_path / 'programs')}"
    assert run("sh", "-c", "box", path=path).returncode == 0


def test_launcher_prefers_the_stated_python(tmp_path: Path) -> None:
    box = tree(tmp_path / "tree")
    stated = write(tmp_path, "my python", '#!/bin/sh\necho stated "$@"\n')
    stated.chmod(0o755)
    ran = run(box, "x", path=python_on(tmp_path / "programs"), APERIO_PYTHON=str(stated))
    assert ran.stdout == f"stated -I -S -B {tmp_path}/tree/bin/box.py x\n"


def test_launcher_takes_the_newest_carried_python(tmp_path: Path) -> None:
    box = tree(tmp_path / "tree", tags=("cp39", "cp310", "cp398"))
    for version in ("3.9", "3.10"):
        python = write(tmp_path, f"programs/python{version}", f"#!/bin/sh\necho {version}\n")
        python.chmod(0o755)
    assert run(box, path=f"{tmp_path}/programs:{os.defpath}").stdout == "3.10\n"


def test_launcher_fails_with_a_message_when_no_python_fits(tmp_path: Path) -> None:
    ran = run(tree(tmp_path / "tree", tags=("cp398", "cp399")))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr == "box: no Python it can run with on PATH; wanted one of: 3.99 3.98\n"


def test_launcher_fails_with_a_message_when_the_stated_python_is_none(tmp_path: Path) -> None:
    ran = run(tree(tmp_path), APERIO_PYTHON="/nowhere/python")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "APERIO_PYTHON is /nowhere/python, which is not a program" in ran.stderr


def test_launcher_hands_over_its_process(tmp_path: Path) -> None:
    box = tree(tmp_path / "tree", plugin="import os\nprint(os.getpid())\n")
    with subprocess.Popen(
        [box], stdout=subprocess.PIPE, text=True, env={"PATH": python_on(tmp_path / "programs")}
    ) as process:
        output, _ = process.communicate(timeout=30)
    assert int(output) == process.pid
