from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.usage import NotFound
from aperio_cli.models.digest import Digest
from aperio_cli.scaffolding import wheel
from tests.projects import SDK, write

if TYPE_CHECKING:
    from pathlib import Path

HASH = "a" * 64


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the SDK's source in another folder."""
    return shutil.copytree(SDK, tmp_path / "sdk", ignore=shutil.ignore_patterns("__pycache__"))


def test_sdk_wheel_is_installable_by_pip(tmp_path: Path) -> None:
    made = wheel.sdk_wheel()
    (tmp_path / made.file_name).write_bytes(made.data)
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
        *("--target", str(tmp_path / "library"), str(tmp_path / made.file_name)),
    ]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "library/aperio_plugin/connector.py").is_file()
    assert (tmp_path / "library/aperio_plugin/py.typed").is_file()


def test_sdk_wheel_gives_the_same_bytes_from_another_folder(source: Path) -> None:
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    (source / "aperio_plugin/connector.py").chmod(0o700)
    write(source, "aperio_plugin/__pycache__/connector.cpython-311.pyc", "bytecode")
    write(source, "tests/test_one.py", "")
    assert wheel.sdk_wheel(source).data == wheel.sdk_wheel().data


def test_sdk_wheel_changes_with_the_source(source: Path) -> None:
    write(source, "aperio_plugin/added.py", "")
    assert wheel.sdk_wheel(source).digest != wheel.sdk_wheel().digest


def test_sdk_wheel_holds_no_tests_and_no_compression(tmp_path: Path) -> None:
    path = tmp_path / "one.whl"
    path.write_bytes(wheel.sdk_wheel().data)
    with zipfile.ZipFile(path) as archive:
        assert {item.filename.split("/")[0] for item in archive.infolist()} == {
            "aperio_plugin",
            "aperio_plugin_sdk-0.1.0.dist-info",
        }
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_sdk_wheel_states_its_dependencies(tmp_path: Path) -> None:
    path = tmp_path / "one.whl"
    path.write_bytes(wheel.sdk_wheel().data)
    with zipfile.ZipFile(path) as archive:
        data = archive.read("aperio_plugin_sdk-0.1.0.dist-info/METADATA")
    headers = BytesParser().parsebytes(data)
    assert headers["Name"] == "aperio-plugin-sdk"
    assert headers["Version"] == "0.1.0"
    required = headers.get_all("Requires-Dist") or []
    names = [text.split(">")[0] for text in required]
    assert names == ["grpcio", "protobuf", "msgspec", "python-rapidjson", "cryptography"]
    assert headers.get_all("Provides-Extra") == ["fast", "mtls"]
    assert all(text.endswith("; extra == 'fast'") for text in required[2:4])
    assert required[-1].endswith("; extra == 'mtls'")
    assert headers.get_payload(decode=True) == (SDK / "README.md").read_bytes() + b"\n"


def test_sdk_wheel_refuses_a_source_without_a_version(source: Path) -> None:
    init = source / "aperio_plugin/__init__.py"
    init.write_text(init.read_text().replace("__version__", "release"))
    with pytest.raises(NotFound, match="states no version"):
        wheel.sdk_wheel(source)


MADE = wheel.Wheel("aperio-plugin-sdk", "0.2.0", b"the bytes")
LOCK = (
    f"grpcio==1.0 \\\n    --hash=sha256:{HASH}\n"
    f"aperio-plugin-sdk==0.1.0 \\\n    --hash=sha256:{HASH}\n"
    f"zlib==1 --hash=sha256:{HASH}\n"
)


def test_refresh_writes_wheel_and_hash(tmp_path: Path) -> None:
    write(tmp_path, "requirements.lock", LOCK)
    assert wheel.refresh(tmp_path, MADE)
    assert (tmp_path / "vendor/aperio_plugin_sdk-0.2.0-py3-none-any.whl").read_bytes() == MADE.data
    assert (tmp_path / "requirements.lock").read_text() == (
        f"grpcio==1.0 \\\n    --hash=sha256:{HASH}\n"
        f"aperio-plugin-sdk==0.2.0 \\\n    --hash={Digest.of(MADE.data)}\n"
        f"zlib==1 --hash=sha256:{HASH}\n"
    )


def test_refresh_changes_nothing_the_second_time(tmp_path: Path) -> None:
    lock = write(tmp_path, "requirements.lock", LOCK)
    wheel.refresh(tmp_path, MADE)
    before = lock.stat().st_mtime_ns
    assert not wheel.refresh(tmp_path, MADE)
    assert lock.stat().st_mtime_ns == before


def test_refresh_removes_an_older_wheel_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "requirements.lock", LOCK)
    write(tmp_path, "vendor/aperio_plugin_sdk-0.1.0-py3-none-any.whl", "")
    write(tmp_path, "vendor/other-1.0-py3-none-any.whl", "")
    wheel.refresh(tmp_path, MADE)
    assert sorted(path.name for path in (tmp_path / "vendor").iterdir()) == [
        "aperio_plugin_sdk-0.2.0-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
    ]


def test_refresh_refuses_a_lock_without_an_entry(tmp_path: Path) -> None:
    lock = write(tmp_path, "requirements.lock", f"grpcio==1.0 --hash=sha256:{HASH}\n")
    with pytest.raises(NotFound, match="no entry for aperio-plugin-sdk"):
        wheel.refresh(tmp_path, MADE)
    assert lock.read_text() == f"grpcio==1.0 --hash=sha256:{HASH}\n"
