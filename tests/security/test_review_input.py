"""Input that once ended in a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2

from aperio_cli.commands.settings import read_settings
from aperio_cli.errors import IndexUnreadable, PluginConfigInvalid
from aperio_cli.host.configuration import check_config
from aperio_cli.registry import RegistrySource

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("base", ["/srv/registry", "http://127.0.0.1:8080/"])
@pytest.mark.parametrize("url", ["https://[::1", "//[::1"])
def test_location_in_an_index_that_is_no_address_is_refused(
    tmp_path: Path, base: str, url: str
) -> None:
    with pytest.raises(IndexUnreadable, match="was not read"):
        RegistrySource(base, tmp_path, offline=True)._locate(url)


@pytest.mark.parametrize(
    ("name", "contents"),
    [("deep.json", '{"a":' + "[" * 100_000), ("deep.toml", "a = " + "[" * 50_000)],
)
def test_settings_that_are_nested_too_deeply_are_refused(
    tmp_path: Path, name: str, contents: str
) -> None:
    (tmp_path / name).write_text(contents)

    with pytest.raises(PluginConfigInvalid) as caught:
        read_settings((), str(tmp_path / name))

    assert "nested too deeply" in caught.value.why


def test_setting_that_is_not_utf8_is_refused_and_not_shown() -> None:
    fields = [common_pb2.ConfigField(key="token", type="TYPE_TEXT")]

    with pytest.raises(PluginConfigInvalid) as caught:
        check_config(fields, {"token": "hunter2\udcff"}, subject="`acme/box`")

    assert "not UTF-8" in caught.value.why
    assert "hunter2" not in str(caught.value.to_json())
