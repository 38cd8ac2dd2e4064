"""Settings against declared fields: every problem is named, no value is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2

from aperio_cli.commands.plugin.settings import read_settings
from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.configuration import CheckedConfig, check_config
from aperio_cli.host.process.masking import Referenced
from tests.rows import each_row, for_rows

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = (
    common_pb2.ConfigField(key="name", type="TYPE_TEXT", required=True),
    common_pb2.ConfigField(key="secret", type="TYPE_PASSWORD", secret=True, host_only=True),
    common_pb2.ConfigField(key="url", type="TYPE_URL", default_json='"https://api.box.com"'),
    common_pb2.ConfigField(key="region", type="TYPE_SELECT", options=["eu", "us"]),
    common_pb2.ConfigField(key="deep", type="TYPE_BOOLEAN", default_json="false"),
    common_pb2.ConfigField(key="days", type="TYPE_NUMBER"),
)


def check(**settings: object) -> CheckedConfig:
    return check_config(FIELDS, settings, subject="`acme/box` 1.2.0")


def test_of_many_keys_that_are_wrong_some_are_named_and_all_are_counted() -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check(name="n", secret="s", **{f"nme{number}": "" for number in range(5_000)})

    *named, last = caught.value.why.splitlines()
    assert len(named) == 20
    assert last == "and 4980 more"
    assert named[0] == "nme0: the plugin has no such key; did you mean name?"


def test_text_becomes_what_the_fields_type_says() -> None:
    config = check(name="n", secret="s", region="eu", deep="true", days="7")

    assert config.values == {
        "name": "n",
        "secret": "s",
        "url": "https://api.box.com",
        "region": "eu",
        "deep": True,
        "days": 7,
    }
    assert config.given == {"name", "secret", "region", "deep", "days"}


def test_what_is_for_the_host_only_is_not_for_the_plugin() -> None:
    config = check(name="n", secret="hunter2")

    assert json.loads(config.plugin_json) == {
        "name": "n",
        "url": "https://api.box.com",
        "deep": False,
    }
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("value", ["", None])
def test_a_setting_without_a_value_has_the_plugins_default_and_was_not_given(value: object) -> None:
    config = check(name="n", url=value, days=0, deep=False)

    assert config.values["url"] == "https://api.box.com"
    assert config.given == {"name", "days", "deep"}


@each_row(("given", "number"), [("1.5", 1.5), (3, 3), ("-2", -2), (0.25, 0.25)])
def test_numbers_keep_their_value(given: object, number: float) -> None:
    assert check(name="n", days=given).values["days"] == number


@for_rows(
    [
        ({}, "name", "missing, and the plugin needs it"),
        ({"name": ""}, "name", "missing, and the plugin needs it"),
        ({"name": 5}, "name", "expected text, received a number"),
        ({"name": ["x"]}, "name", "expected text, received a list"),
        ({"name": "x" * 65537}, "name", "expected at most 65536 characters"),
        ({"name": "n", "days": "many"}, "days", "expected a number, received text"),
        ({"name": "n", "days": True}, "days", "expected a number, received true or false"),
        ({"name": "n", "days": "nan"}, "days", "expected a number, received text"),
        ({"name": "n", "days": "1e999"}, "days", "expected a number that is finite"),
        ({"name": "n", "deep": "yes"}, "deep", "expected true or false, received text"),
        ({"name": "n", "deep": 1}, "deep", "expected true or false, received a number"),
        ({"name": "n", "region": "asia"}, "region", "expected one of eu, us"),
        ({"name": "n", "url": "ftp://x"}, "url", "expected a web address"),
        ({"name": "n", "url": "https://"}, "url", "expected a web address"),
        ({"name": "n", "url": "https://[::1"}, "url", "expected a web address"),
        ({"name": "n", "regionn": "eu"}, "regionn", "did you mean region?"),
        ({"name": "n", "zzz": "1"}, "zzz", "known: name, secret, url, region, deep, days"),
    ]
)
def test_a_wrong_setting_is_named_with_what_was_expected(
    settings: dict[str, Any], key: str, why: str
) -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check(**settings)

    assert caught.value.what.startswith(f"`{key}` of `acme/box` 1.2.0")
    assert why in caught.value.why
    step = f"leave `{key}` out" if "no such key" in caught.value.why else f"`--set {key}="
    assert caught.value.next[0].startswith(step)


def test_all_problems_are_told_at_once_and_no_value_among_them() -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check(days="hunter2", secret=5, hunter="hunter2")

    lines = caught.value.why.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["name", "secret", "days", "hunter"]
    assert "hunter2" not in caught.value.why


@each_row("digits", [309, 310, 5000])
def test_a_number_beyond_a_float_is_none(digits: int) -> None:
    with pytest.raises(PluginConfigInvalid, match="`days`"):
        check(name="n", days="9" * digits)


@each_row(
    ("kind", "default", "why"),
    [
        ("TYPE_TEXT", "[" * 100_000, "is not JSON"),
        ("TYPE_TEXT", '"\\ud800"', "is not JSON"),
        ("TYPE_TEXT", '{"a": 1, "a": 1}', "is not JSON"),
        ("TYPE_NUMBER", "NaN", "is not JSON"),
        ("TYPE_NUMBER", "1e400", "is not JSON"),
        ("TYPE_NUMBER", "9" * 5000, "is not JSON"),
        ("TYPE_NUMBER", "true", "expected a number"),
        ("TYPE_BOOLEAN", "1", "expected true or false"),
        ("TYPE_TEXT", "[]", "expected text"),
        ("TYPE_URL", '"box"', "expected a web address"),
        ("TYPE_SELECT", '"ap"', "expected one of eu"),
    ],
)
def test_a_default_that_the_field_cannot_have_asks_for_a_value(
    kind: Any, default: str, why: str
) -> None:
    options = ["eu"] if kind == "TYPE_SELECT" else []
    broken = common_pb2.ConfigField(key="k", type=kind, default_json=default, options=options)

    with pytest.raises(PluginConfigInvalid) as caught:
        check_config([broken], {}, subject="x")

    assert why in caught.value.why
    assert "the plugin's own default" in caught.value.why


def test_a_default_that_is_no_json_asks_for_a_value() -> None:
    broken = common_pb2.ConfigField(key="name", type="TYPE_TEXT", default_json="oops")

    with pytest.raises(PluginConfigInvalid) as caught:
        check_config([broken], {}, subject="x")

    assert "the plugin's own default is not JSON" in caught.value.why
    assert check_config([broken], {"name": "n"}, subject="x").values == {"name": "n"}


def test_setting_that_is_not_utf8_is_refused_and_not_shown() -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check(name="hunter2\udcff")

    assert "not UTF-8" in caught.value.why
    assert "hunter2" not in str(caught.value.to_json())


@pytest.mark.parametrize(
    ("name", "contents"),
    [("deep.json", '{"a":' + "[" * 50_000), ("deep.toml", "a = " + "[" * 50_000)],
)
def test_settings_that_are_nested_too_deeply_are_refused(
    tmp_path: Path, name: str, contents: str
) -> None:
    (tmp_path / name).write_text(contents)

    with pytest.raises(PluginConfigInvalid) as caught:
        read_settings((), str(tmp_path / name))

    assert "nested too deeply" in caught.value.why


# ── what does not fit into one line ───────────────────────────────────────────────────────────────


@each_row(
    ("value", "said"),
    [
        ("open\nsesame", "a line end at position 5"),
        ("open-sesame\n", "a line end at position 12"),
        ("open\rsesame", "a line end at position 5"),
        ("open\u2028sesame", "a line end at position 5"),
        ("open\u0085sesame", "a line end at position 5"),
        ("\ufeffopen-sesame", "a byte order mark at position 1"),
        ("open\x00sesame", "the control character U+0000 at position 5"),
        ("open\x1b[31m", "the control character U+001B at position 5"),
        ("open\tsesame", "the control character U+0009 at position 5"),
        ("open\x9bsesame", "the control character U+009B at position 5"),
    ],
)
@each_row("key", ["name", "secret"])
def test_a_value_with_a_control_character_is_refused_by_name(
    key: str, value: str, said: str
) -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check(**{"name": "n", key: value})

    assert f"{key}: holds {said}" in caught.value.why
    assert "sesame" not in f"{caught.value.what}{caught.value.why}{caught.value.next}"


@each_row("value", ["päss wörd", "пароль", "🔑", "a\u00a0b", "\\n"])
def test_a_value_of_other_letters_is_taken(value: str) -> None:
    assert check(name="n", secret=value).values["secret"] == value


@each_row("option", ["--set", "--to-set", "--parameter"])
def test_a_pair_that_is_none_is_told_with_its_own_option(option: str) -> None:
    with pytest.raises(UsageError, match=f"`{option} key` was not understood"):
        read_settings(["key"], "", option=option)


@each_row("option", ["--set", "--to-set", "--parameter", "--context"])
@each_row("second", ["key=hunter3", "key=hunter2", "key="])
def test_a_key_that_is_there_twice_is_refused_without_its_values(option: str, second: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(["key=hunter2", "other=1", second], "", option=option)
    assert caught.value.what == f"`{option} key=...` is there twice; nothing was run"
    assert "hunter" not in f"{caught.value.why}{caught.value.next}"


def test_a_key_of_the_file_may_be_given_once_more(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('key = "a"\nother = "b"\n')
    settings = read_settings(["key=c", "KEY=d"], str(tmp_path / "s.toml"))
    assert settings == {"key": "c", "other": "b", "KEY": "d"}


def test_steps_name_the_option_and_the_operation_that_shows_the_keys() -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        check_config(FIELDS, {}, subject="x", option="--parameter", declaring="capabilities")
    first, last = caught.value.next
    assert first.startswith("`--parameter ")
    assert last == "the operation `capabilities` shows every key with its type"


@each_row(
    ("written", "taken"),
    [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), ("s\n\n", "s\n"), ("s\r", "s\r"), (" s ", " s ")],
)
def test_a_value_from_elsewhere_loses_one_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, taken: str
) -> None:
    (tmp_path / "key").write_bytes(written.encode())
    monkeypatch.setenv("LANTERN_KEY", written)

    settings = read_settings(["a=env:LANTERN_KEY", f"b=file:{tmp_path / 'key'}"], "")

    assert settings == {"a": taken, "b": taken}
    assert all(isinstance(value, Referenced) for value in settings.values())
    assert type(read_settings(["a=s"], "")["a"]) is str
