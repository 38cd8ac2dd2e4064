"""What is generated is current: protobuf code, completions, reference pages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"generator_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_protobuf_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    generator = load(ROOT / "proto" / "generate.py")
    generator.generate(tmp_path / "generated")
    committed = ROOT / "sdk" / "python" / "aperio_plugin" / "_generated"
    fresh = {
        p.relative_to(tmp_path / "generated"): p.read_bytes()
        for p in (tmp_path / "generated").rglob("*.py*")
    }
    kept = {
        p.relative_to(committed): p.read_bytes()
        for p in committed.rglob("*.py*")
        if p.suffix != ".pyc"
    }
    assert fresh == kept, "run `make generate`"


def test_completions_and_reference_pages_are_what_the_code_says() -> None:
    generator = load(ROOT / "docs" / "generate.py")
    for path, text in generator.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `make generate`"


def test_every_error_has_a_code_of_its_own_and_a_meaning() -> None:
    from aperio_cli.errors import catalogue

    classes = list(catalogue())
    assert len(classes) > 30
    for error in classes:
        assert error.__doc__, error
        assert error.code == error.code.lower().replace("_", "-")
        assert error.exit_status in {1, 2, 3, 4, 5, 6, 130}


def test_no_error_class_hides_another_code() -> None:
    """Two classes with one code would be one line in the catalogue."""
    from aperio_cli.errors import AperioError

    seen: dict[str, type] = {}
    pending: list[type[AperioError]] = [AperioError]
    while pending:
        current = pending.pop()
        pending.extend(current.__subclasses__())
        if "code" in vars(current):
            assert seen.setdefault(current.code, current) is current, current.code


def test_lock_of_the_reference_plugin_names_the_sdk_as_it_is() -> None:
    """`make setup` makes the wheel; only its digest is committed, and has to be of this source."""
    from aperio_cli.scaffolding.wheel import lock_with, sdk_wheel

    path = ROOT / "plugins" / "box" / "requirements.lock"
    text = path.read_text(encoding="utf-8")
    assert lock_with(text, sdk_wheel(), where=path) == text, "run `make setup` and commit the lock"
