from __future__ import annotations

import json

import pytest

from aperio_cli.errors.controlling import CallInvalid
from aperio_cli.host.control.asking import read_object


def keys(count: int, colon: str) -> bytes:
    return ("{" + ",".join(f'"k{number}"{colon}1' for number in range(count)) + "}").encode()


@pytest.mark.parametrize("colon", [":", " :", "\n\t: "])
def test_settings_of_too_many_keys_are_refused_however_they_are_written(colon: str) -> None:
    with pytest.raises(CallInvalid) as refused:
        read_object("config_json", keys(10_001, colon))
    assert "at most 10000 keys in all" in refused.value.why
    assert len(read_object("config_json", keys(10_000, colon))) == 10_000


def test_keys_of_objects_within_count_too() -> None:
    with pytest.raises(CallInvalid) as refused:
        read_object("config_json", b'{"a": [' + b",".join([keys(100, ":")] * 101) + b"]}")
    assert "at most 10000 keys in all" in refused.value.why


def test_colons_in_texts_and_long_lists_are_no_keys() -> None:
    mapping = json.dumps(dict.fromkeys(map(str, range(20_000)), 1))
    document = {"mapping": mapping, "ids": ["x"] * 40_000}
    assert read_object("config_json", json.dumps(document).encode()) == document
