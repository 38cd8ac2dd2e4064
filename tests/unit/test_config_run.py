"""`[[run]]`: what the host keeps running, and what its settings refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import Config, RunRule, load_config
from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.host.process.masking import Referenced
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import Paths
from aperio_cli.running.references import resolve_run
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

BOX = '[[run]]\nplugin = "acme/box"\n'


def load(folder: Path, user: str, site: str = "", managed: str = "") -> Config:
    paths = Paths(folder, folder / "config.toml", folder / "cache")
    paths.config_file.write_text(user)
    (folder / "site.toml").write_text(site)
    if managed:
        paths.managed_file.write_text(managed)
    return load_config(paths, site_file=folder / "site.toml")


def refusal(folder: Path, user: str, **files: str) -> ConfigurationInvalid:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(folder, user, **files)
    return caught.value


# ── what it states ────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_read_with_its_place_and_its_references_as_they_stand(tmp_path: Path) -> None:
    text = (
        '\n[[run]]\nplugin = "acme/box@1.2.3"\norganization = "org_1"\nintegration = "int_1"\n'
        '[run.settings]\nkey = "env:BOX_KEY"\nlimit = 5\nratio = 0.5\nis_eu = true\n'
    )

    (run,) = load(tmp_path, text).runs

    assert run.plugin == PluginRef.parse("acme/box@1.2.3")
    assert run.key == ("acme/box", "org_1", "int_1")
    assert run.settings == {"key": "env:BOX_KEY", "limit": 5, "ratio": 0.5, "is_eu": True}
    assert run.stated_in == f"{tmp_path / 'config.toml'}:3"
    assert "BOX_KEY" not in repr(run)


def test_a_run_without_more_is_of_the_local_organization(tmp_path: Path) -> None:
    (run,) = load(tmp_path, BOX).runs
    assert run.key == ("acme/box", "local", "local")
    assert run.plugin.version is None


def test_runs_of_one_plugin_differ_in_organization_or_integration(tmp_path: Path) -> None:
    text = BOX + BOX + 'integration = "eu"\n' + BOX + 'organization = "org_1"\n'
    assert len(load(tmp_path, text).runs) == 3


def test_the_sites_runs_come_first_and_count_before_the_users(tmp_path: Path) -> None:
    site = BOX + "settings = { limit = 1 }\n"
    user = BOX + 'settings = { limit = 2 }\n[[run]]\nplugin = "acme/hello"\n'

    runs = load(tmp_path, user, site).runs

    assert [(str(run.plugin), run.settings.get("limit")) for run in runs] == [
        ("acme/box", 1),
        ("acme/hello", None),
    ]


@each_row(
    ("text", "key", "why"),
    [
        ('[[run]]\norganization = "o"\n', "run.plugin", "`plugin` is missing"),
        ('[[run]]\nplugin = "box"\n', "run.plugin", "is not a plugin id"),
        ('[[run]]\nplugin = "acme/box@new"\n', "run.plugin", "is not a version"),
        (BOX + 'organisation = "o"\n', "run.organisation", "did you mean `organization`"),
        (BOX + 'organization = ""\n', "run.organization", "not blank"),
        (BOX + f'integration = "{"x" * 201}"\n', "run.integration", "at most 200"),
        (BOX + 'integration = "a\\u0007"\n', "run.integration", "printable"),
        (BOX + BOX, "run.plugin", "another entry runs it"),
        (BOX + "settings = 5\n", "run.settings", "expected a table"),
        (BOX + "settings = { a = [1] }\n", "run.settings", "a: expected a text, a number"),
        (BOX + "settings = { a = { b = 1 } }\n", "run.settings", "a: expected a text"),
        (BOX + "settings = { a = 2026-01-01 }\n", "run.settings", "a: expected a text"),
        (BOX + 'settings = { a = "file:key" }\n', "run.settings", "a: expected a path"),
        (BOX + 'settings = { a = "file:~bob/key" }\n', "run.settings", "starts with / or ~/"),
        ('[run]\nplugin = "acme/box"\n', "run", "with two brackets"),
    ],
)
def test_a_run_that_says_something_else_is_refused_by_file_and_line(
    tmp_path: Path, text: str, key: str, why: str
) -> None:
    error = refusal(tmp_path, text)
    assert f"`{key}`" in error.what
    assert why in error.why
    assert f"{tmp_path / 'config.toml'}:" in error.why


def test_no_value_of_a_setting_is_told_when_it_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, BOX + 'settings = { a = ["open-sesame"], b = "file:open-sesame" }\n')
    assert "sesame" not in f"{error.what}{error.why}{error.next}"


def test_commands_state_no_run(tmp_path: Path) -> None:
    error = refusal(tmp_path, "", managed=BOX)
    assert "unknown: run" in error.why
    assert load(tmp_path, BOX, managed="schema = 1\n").runs


def test_a_file_of_the_site_starts_with_a_slash(tmp_path: Path) -> None:
    error = refusal(tmp_path, "", site=BOX + 'settings = { a = "file:~/key" }\n')
    assert "starts with /" in error.why
    assert load(tmp_path, BOX + 'settings = { a = "file:~/key" }\n').runs


# ── seen from outside ─────────────────────────────────────────────────────────────────────────────


def test_metrics_and_traces_are_off_unless_an_address_is_stated(tmp_path: Path) -> None:
    stated = '[host]\nmetrics = "127.0.0.1:9464"\ntraces = "http://127.0.0.1:4318/v1/traces"\n'
    off, on = load(tmp_path, ""), load(tmp_path, stated)
    assert (off.metrics, off.traces) == ("", "")
    assert (on.metrics, on.traces) == ("127.0.0.1:9464", "http://127.0.0.1:4318/v1/traces")
    assert load(tmp_path, "", site=stated).metrics == "127.0.0.1:9464"
    assert load(tmp_path, '[host]\nmetrics = "[::1]:0"\n', site=stated).metrics == "[::1]:0"


def test_registries_are_asked_every_six_hours_and_at_least_as_often_as_the_site_says(
    tmp_path: Path,
) -> None:
    def hours(user: str, site: str = "") -> int:
        texts = [f"[host]\nrefresh_hours = {text}\n" if text else "" for text in (user, site)]
        return load(tmp_path, texts[0], site=texts[1]).refresh_hours

    assert [hours(""), hours("0"), hours("24")] == [6, 0, 24]
    assert [hours("", "12"), hours("24", "12"), hours("0", "12"), hours("1", "12")] == [
        12,
        12,
        12,
        1,
    ]
    assert [hours("", "0"), hours("3", "0")] == [0, 3]
    assert "from 0 to 720" in refusal(tmp_path, "[host]\nrefresh_hours = 721\n").why


@each_row(
    "value",
    ["localhost:9464", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
     "127.0.0.1:-1", "127.0.0.1:09", "::1:9464", "127.0.0.1:x", "[127.0.0.1]:9464", "1:2:3", "²:1"],
)  # fmt: skip
def test_metrics_are_at_an_ip_address_and_a_port(tmp_path: Path, value: str) -> None:
    assert "an IP address and a port" in refusal(tmp_path, f'[host]\nmetrics = "{value}"\n').why


def test_traces_are_sent_where_nobody_reads_on_the_way(tmp_path: Path) -> None:
    error = refusal(tmp_path, '[host]\ntraces = "http://collector.example:4318/v1/traces"\n')
    assert "expected https://" in error.why


# ── what its settings refer to ────────────────────────────────────────────────────────────────────


def run_with(**settings: object) -> RunRule:
    return RunRule(PluginRef.parse("acme/box"), "org_1", "int_1", settings, "config.toml:7")


def test_references_are_resolved_at_each_start_and_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    monkeypatch.setenv("BOX_KEY", "open-sesame")
    run = run_with(a="env:BOX_KEY", b=f"file:{key}", c="plain", d=7)

    assert resolve_run(run) == {"a": "open-sesame", "b": "first", "c": "plain", "d": 7}
    assert isinstance(resolve_run(run)["a"], Referenced)
    key.write_text("second\n")
    assert resolve_run(run)["b"] == "second"


@each_row(
    ("reference", "why"),
    [
        ("env:NOT_SET_ANYWHERE", "the environment has no NOT_SET_ANYWHERE"),
        ("file:/not/there", "No such file"),
        ("file:/", "it is not a regular file"),
        ("file:/a\0b", "it names no file"),
        ("file:", ""),
    ],
)
def test_a_reference_that_leads_nowhere_is_told_by_plugin_key_and_line(
    reference: str, why: str
) -> None:
    with pytest.raises(PluginConfigInvalid) as caught:
        resolve_run(run_with(key=reference))

    error = caught.value
    assert "`acme/box` was not started for org_1 int_1, as config.toml:7 states" in error.what
    assert "`key` was not set" in error.what
    assert why in error.why
    assert 'in config.toml:7: `key = "env:NAME"`' in error.next[-1]


def test_a_file_that_is_no_text_is_refused_without_its_contents(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"open-sesame\xff")

    with pytest.raises(PluginConfigInvalid) as caught:
        resolve_run(run_with(key=f"file:{tmp_path / 'key'}"))

    assert caught.value.why == "it is not UTF-8 text"
    assert "sesame" not in f"{caught.value.what}{caught.value.next}"
