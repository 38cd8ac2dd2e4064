"""Records of an earlier version, restored into a home, and what commands say about them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aperio_cli import clock
from aperio_cli.__main__ import main

ASSETS = Path(__file__).resolve().parent / "assets"
FOLDER_THEN = "/srv/aperio"
"""Where the records say that they stood."""

_DAY = datetime(2026, 12, 1, tzinfo=UTC)  # exceptions in the records end
_QUESTIONS: dict[str, tuple[str, ...]] = {
    "list": ("plugin", "list"),
    "connector": ("plugin", "why", "acme/hello-connector"),
    "destination": ("plugin", "why", "aperio/jsonl-file"),
    "remediation": ("plugin", "why", "acme/remediation"),
    "trust": ("trust", "show"),
}


def restore(version: str, folder: Path) -> Path:
    """Put the records of a version into a folder, as if they had been written there."""
    shutil.copytree(ASSETS / version, folder)
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if path.is_file() and path.suffix not in {".db", ".py"}:
            path.write_bytes(path.read_bytes().replace(FOLDER_THEN.encode(), bytes(folder)))
    return folder


def ask(folder: Path) -> dict[str, Any]:
    """What commands say about restored records, on a day not long after, by a name for each."""
    said: dict[str, Any] = {}
    for name, words in _QUESTIONS.items():
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, write_through=True)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            patch.setattr(clock, "now", lambda: _DAY)
            status = main([*words, "--json", "--home", str(folder / "home")])
        text = raw.getvalue().decode()
        assert status == 0, text
        said[name] = json.loads(text.replace(str(folder), FOLDER_THEN))["data"]
    for stated in said["trust"]["publisher_files"]:
        del stated["verified_at"]  # it is verified anew in the place where it was restored
    domains = said["trust"]["domains"]
    said["trust"]["domains"] = [d for d in domains if d["origin"] != "vendored"]  # they get newer
    return said
