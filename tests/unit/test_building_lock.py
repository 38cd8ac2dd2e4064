from __future__ import annotations

from pathlib import Path

import pytest

from aperio_cli.building.lock import parse_lock, read_lock
from aperio_cli.errors.building import LockInvalid
from aperio_cli.models.digest import Digest
from tests.rows import each_row

A = "a" * 64
B = "b" * 64
PATH = Path("requirements.lock")


def test_parse_lock_reads_names_versions_and_hashes() -> None:
    text = (
        "# made by a tool\n"
        f"grpcio==1.2.3 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f"\n    # via grpcio\nTyping_Extensions==4.0rc1 --hash=sha256:{A}  # one line\n"
    )
    first, second = parse_lock(text.encode(), PATH).pins
    assert (first.name, first.version, first.digests) == ("grpcio", "1.2.3", (Digest(A), Digest(B)))
    assert str(second) == "typing-extensions==4.0rc1"


def test_parse_lock_reads_a_last_line_without_its_end() -> None:
    lock = parse_lock(f"one==1 \\\n --hash=sha256:{A} \\".encode(), PATH)
    assert lock.to_requirements() == f"one==1 --hash=sha256:{A}\n"


def test_parse_lock_skips_a_byte_order_mark_and_nothing_else() -> None:
    plain = b"httpx==0.28.1 --hash=sha256:" + b"0" * 64 + b"\n"

    marked = parse_lock(b"\xef\xbb\xbf" + plain, PATH)

    assert marked.pins == parse_lock(plain, PATH).pins
    with pytest.raises(LockInvalid):
        parse_lock(b"\xef\xbb\xbf" * 2 + plain, PATH)
    for encoding in ("utf-16", "utf-16-le"):
        with pytest.raises(LockInvalid) as caught:
            parse_lock(plain.decode().encode(encoding), PATH)
        assert "it looks like UTF-16" in caught.value.why


def test_parse_lock_accepts_an_empty_lock() -> None:
    assert parse_lock(b"# nothing\n", PATH).pins == ()


def test_lock_digest_is_that_of_its_bytes() -> None:
    assert parse_lock(b"# nothing\n", PATH).digest == Digest.of(b"# nothing\n")


@each_row(
    "line",
    [
        "--index-url http://192.0.2.1/",
        "--find-links vendor",
        "-r other.txt",
        "-e .",
        f"one @ file:///one.whl --hash=sha256:{A}",
        f"./one.whl --hash=sha256:{A}",
        f"one>=1 --hash=sha256:{A}",
        f"one==1.* --hash=sha256:{A}",
        f"one[extra,]==1 --hash=sha256:{A}",
        f"one[[extra]]==1 --hash=sha256:{A}",
        f"one==1+ --hash=sha256:{A}extra",
        f'one==1 ; python_version < "3.12" --hash=sha256:{A}',
        f"one==1 --hash=md5:{A[:32]}",
        f"one==1 --hash=sha256:{A[:-1]}",
        f"one==1 --hash=sha256:{A} --config-settings=x=y",
        "one",
    ],
)
def test_parse_lock_refuses_whatever_is_not_a_pin_with_hashes(line: str) -> None:
    with pytest.raises(LockInvalid) as caught:
        parse_lock(f"# first\n{line}\n".encode(), PATH)
    assert caught.value.code == "lock-invalid"
    assert "line 2: expected name==version" in caught.value.why


@each_row("version", ["1.2.3+local.1", "1!2.0.post1", "2.0rc1+cu121", "1.0.dev5", "1.2.3-1"])
def test_parse_lock_takes_every_version_that_there_can_be(version: str) -> None:
    (pin,) = parse_lock(f"one=={version} --hash=sha256:{A}\n".encode(), PATH).pins
    assert pin.to_requirement() == f"one=={version} --hash=sha256:{A}"


@each_row("version", ["1.2.3+", "1+a+b", "1+-", "latest", "1..2", "1.x"])
def test_parse_lock_refuses_what_is_no_version(version: str) -> None:
    with pytest.raises(LockInvalid) as caught:
        parse_lock(f"one=={version} --hash=sha256:{A}\n".encode(), PATH)
    assert f"{version} is no version" in caught.value.why


@each_row(
    ("written", "extras"),
    [("one[mtls]", ("mtls",)), ("One[a_b, C]", ("a-b", "c")), ("one [x]", ("x",)), ("one[]", ())],
)
def test_parse_lock_takes_extras_and_pip_is_given_none(
    written: str, extras: tuple[str, ...]
) -> None:
    (pin,) = parse_lock(f"{written}==1 --hash=sha256:{A}\n".encode(), PATH).pins
    assert pin.extras == extras
    assert pin.to_requirement() == f"one==1 --hash=sha256:{A}"


def test_parse_lock_refuses_a_pin_without_a_hash() -> None:
    with pytest.raises(LockInvalid) as caught:
        parse_lock(b"one==1\n", PATH)
    assert "one==1 has no hash" in caught.value.why
    assert "--generate-hashes" in caught.value.next[0]


def test_parse_lock_refuses_a_name_twice_however_it_is_written() -> None:
    text = f"a-b==1 --hash=sha256:{A}\nA_b==2 --hash=sha256:{A}\n"
    with pytest.raises(LockInvalid) as caught:
        parse_lock(text.encode(), PATH)
    assert "line 2: a-b is there twice" in caught.value.why


def test_parse_lock_refuses_bytes_that_are_no_text() -> None:
    with pytest.raises(LockInvalid):
        parse_lock(b"\xff\xfe", PATH)


def test_parse_lock_shows_no_control_characters_of_a_line() -> None:
    with pytest.raises(LockInvalid) as caught:
        parse_lock(b"one\x1b[2J\n", PATH)
    assert "\x1b" not in caught.value.why


def test_read_lock_says_that_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(LockInvalid) as caught:
        read_lock(tmp_path)
    assert caught.value.why == "the file is missing"


def test_read_lock_refuses_a_file_over_a_mebibyte(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(LockInvalid) as caught:
        read_lock(tmp_path)
    assert "expected at most 1048576 bytes" in caught.value.why
