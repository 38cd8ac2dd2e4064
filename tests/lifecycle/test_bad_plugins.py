"""Plugins that misbehave, and settings that do not fit: told, and nothing is left running."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.lifecycle import Patience
from tests.lifecycle.plugins import PLUGIN, artifact_of, project_of, simulating

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.cli import Aperio
    from tests.lifecycle.hello_api import HelloApi

HELLO = "acme/hello-connector"
NONE = f"`aperio plugin run {HELLO}` without one does `sync`"
HURRIED = replace(Patience(), handshake_s=3)  # in which it writes something, on a busy machine too


def install(aperio: Aperio, code: str, **changes: str) -> None:
    artifact = artifact_of(aperio.folder / "dist", code, **changes)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)


# ── before the handshake ──────────────────────────────────────────────────────────────────────────

FAILING = {
    "noise_first": ("handshake-malformed", "loading 3 rules"),
    "exits_at_once": ("plugin-exited-early", "cannot find the rules: /etc/rules"),
    "hangs": ("handshake-timeout", "waiting for a lock"),
    "floods_stdout": ("handshake-too-long", "65536"),
    "unhealthy": ("plugin-not-healthy", "expected SERVING"),
}


@pytest.mark.parametrize("simulator", FAILING)
def test_a_plugin_does_not_start_that(
    aperio: Aperio, simulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = HURRIED if simulator == "hangs" else Patience()
    monkeypatch.setattr(Patience, "stated", lambda _: patience)
    code, evidence = FAILING[simulator]
    project = project_of(aperio.folder / "project", simulating(simulator))
    told = aperio.refuses("plugin", "run", project, "schema", code=code, status=5, noted=True)
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 (development) ")
    assert evidence in told.why
    assert "\x1b" not in told.shown
    assert told.next
    aperio.assert_nothing_left()


def test_a_handshake_may_take_as_long_as_the_configuration_says(aperio: Aperio) -> None:
    with (aperio.home / "config.toml").open("a") as file:
        file.write("[host]\nhandshake_timeout_s = 1\n")
    project = project_of(aperio.folder / "project", simulating("hangs"))

    done = aperio("plugin", "run", project, "schema", status=5)

    assert "timeout while waiting for plugin to start: 1 s" in done.err
    assert "`[host] handshake_timeout_s = 60`" in done.err


@pytest.mark.parametrize("json_words", [[], ["--json"]])
def test_a_plugin_that_crashes_in_its_sync_keeps_what_it_gave(
    aperio: Aperio, json_words: list[str]
) -> None:
    project = project_of(aperio.folder / "project", simulating("crashes"))
    done = aperio("plugin", "run", project, "sync", *json_words, status=5)
    types = [line["type"] for line in done.lines]
    assert types.count("event") == 2
    if json_words:
        assert types[-1] == "error"
        assert done.lines[-1]["code"] == "plugin-crashed"
        assert done.lines[-1]["exit_status"] == 5
    else:
        assert "plugin-crashed (exit 5)" in done.err
        assert "SIGSEGV" in done.err
    again = aperio("plugin", "run", project, "sync", status=5)
    assert [line["envelope"]["source_event_id"] for line in again.lines] == ["e0", "e1"]


def test_whoever_develops_a_plugin_gets_other_advice_than_who_runs_it(aperio: Aperio) -> None:
    code = "raise SystemExit(3)\n"
    project = project_of(aperio.folder / "project", code)
    artifact = artifact_of(aperio.folder / "dist", code)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)
    for named, advice in ((project, "belongs into the folder"), (PLUGIN, "install it again")):
        done = aperio.type("plugin", "run", named, "schema", "--json")
        [error] = done.document["errors"]
        assert error["code"] == "plugin-exited-early"
        assert advice in error["next"][1]


def test_a_file_that_cannot_be_executed_is_named(aperio: Aperio) -> None:
    install(aperio, "import nothing_like_this\n")
    told = aperio.refuses(
        "plugin", "run", PLUGIN, "schema", code="plugin-exited-early", status=5, noted=True
    )
    assert "nothing_like_this" in told.why


def test_an_artifact_is_not_run_but_the_command_to_install_it_is_given(
    aperio: Aperio, hello_artifact: Path
) -> None:
    told = aperio.refuses("plugin", "run", hello_artifact, code="usage", status=2)
    assert told.next == (f"`aperio plugin install {hello_artifact}`",)


@pytest.mark.parametrize(
    ("operation", "steps"),
    [("execute", (NONE,)), ("deliver", (NONE,)), ("synk", ("did you mean `sync`?",))],
)
def test_an_operation_of_another_kind_is_refused(
    installed: Aperio, operation: str, steps: tuple[str, ...]
) -> None:
    told = installed.refuses("plugin", "run", HELLO, operation, code="usage", status=2)
    assert told.why == "expected sync, schema, test, connect"
    assert told.next == steps


# ── versions of the interface ─────────────────────────────────────────────────────────────────────


def test_a_plugin_with_a_newer_minor_version_runs(aperio: Aperio) -> None:
    install(aperio, simulating("newer_minor"), protocol="1.99")
    assert aperio("plugin", "run", PLUGIN, "schema", "--json").data["interface"]["minor"] == 99
    assert len(aperio("plugin", "run", PLUGIN).lines) == 1


def test_a_plugin_that_speaks_another_major_version_is_refused_at_load(aperio: Aperio) -> None:
    install(aperio, simulating("other_major"))
    told = aperio.refuses(
        "plugin", "run", PLUGIN, "schema", code="protocol-incompatible", status=6, noted=True
    )
    assert "2" in told.why
    assert "1" in told.why
    aperio.assert_nothing_left()


def test_a_project_of_another_major_version_is_refused_at_load(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", simulating("bare"))
    manifest = project / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace('"1.0"', '"2.0"'))
    told = aperio.refuses(
        "plugin", "run", project, "schema", code="protocol-incompatible", status=6, noted=True
    )
    assert "2.0" in told.why


def test_a_project_without_a_matching_interpreter_is_refused(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", simulating("bare"))
    manifest = project / "manifest.yaml"
    manifest.write_text(re.sub(r"tags: \[cp\d+\]", "tags: [cp398]", manifest.read_text()))
    told = aperio.refuses("plugin", "run", project, code="interpreter-missing", status=6)
    assert told.next


def test_an_interpreter_that_is_gone_is_named_with_what_to_do(aperio: Aperio) -> None:
    install(aperio, simulating("bare"))
    [receipt] = (aperio.home / "plugins").rglob("receipt.json")
    document = json.loads(receipt.read_text())
    document["interpreter"]["executable"] = "/opt/gone/bin/python3.11"
    receipt.write_text(json.dumps(document))
    told = aperio.refuses(
        "plugin", "run", PLUGIN, "schema", code="interpreter-changed", status=6, noted=True
    )
    assert "/opt/gone" in told.why
    assert "install the plugin again" in told.next[0]


# ── settings ──────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_setting_is_named_with_how_to_give_it(installed: Aperio) -> None:
    told = installed.refuses(
        "plugin", "run", HELLO, "test", code="plugin-config-invalid", status=2, noted=True
    )
    assert told.what.startswith("`api_key` of `acme/hello-connector` 0.1.0 is not configured well")
    assert told.why == "api_key: missing, and the plugin needs it"
    assert "`--set api_key=VALUE`" in told.next[0]


def test_a_stream_tells_its_error_in_its_last_line(installed: Aperio) -> None:
    [line] = installed("plugin", "run", HELLO, "sync", "--json", status=2).lines
    assert set(line) == {"type", "code", "what", "why", "next", "exit_status"}
    assert (line["type"], line["code"], line["exit_status"]) == (
        "error",
        "plugin-config-invalid",
        2,
    )


def test_an_unknown_setting_is_answered_with_the_closest(installed: Aperio) -> None:
    told = installed.refuses(
        "plugin", "run", HELLO, "test", "--set", "api_key=k", "--set", "base_ulr=hunter2",
        code="plugin-config-invalid", status=2, noted=True,
    )  # fmt: skip
    assert "did you mean base_url?" in told.why
    assert not any("base_ulr=VALUE" in step for step in told.next)
    assert "hunter2" not in told.shown


def test_a_setting_of_a_wrong_type_is_refused_without_showing_it(aperio: Aperio) -> None:
    install(aperio, simulating("expiring"))
    told = aperio.refuses(
        "plugin", "run", PLUGIN, "test", "--set", "stuck=hunter2", "--set", "base_url=hunter2",
        code="plugin-config-invalid", status=2, noted=True,
    )  # fmt: skip
    assert "stuck: expected true or false, received text" in told.why
    assert "base_url: expected a web address" in told.why
    assert "hunter2" not in told.shown


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("env:NOWHERE", "the environment has no NOWHERE"),
        ("file:nowhere", "No such file or directory"),
        ("file:.", ""),
    ],
)
def test_a_value_that_cannot_be_found_is_refused_before_anything_runs(
    installed: Aperio, value: str, why: str
) -> None:
    told = installed.refuses(
        "plugin", "run", HELLO, "--set", f"api_key={value}", code="plugin-config-invalid", status=2
    )
    assert told.what == f"`api_key` was not set, nothing was run: `{value}` cannot be read"
    assert why in told.why


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("settings.toml", "api_key = ", "plugin-config-invalid"),
        ("settings.json", '{"api_key": "hunter2"', "plugin-config-invalid"),
        ("settings.json", "[]", "plugin-config-invalid"),
        ("settings.yaml", "api_key: hunter2", "usage"),
        ("", "", "plugin-config-invalid"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named(
    installed: Aperio, name: str, text: str, code: str
) -> None:
    if name:
        (installed.folder / name).write_text(text)
    file = name or "nowhere.toml"
    told = installed.refuses("plugin", "run", HELLO, "--plugin-config", file, code=code, status=2)
    assert file in told.what
    assert "hunter2" not in told.shown


@pytest.mark.parametrize("pair", ["api_key", "=x", "=hunter2"])
def test_a_set_without_key_and_value_is_refused_without_showing_it(
    installed: Aperio, pair: str
) -> None:
    told = installed.refuses("plugin", "run", HELLO, "--set", pair, code="usage", status=2)
    assert told.why == "expected KEY=VALUE"
    assert "hunter2" not in told.shown


def test_a_key_that_the_service_refuses_is_the_plugins_error(
    installed: Aperio, hello_api: HelloApi
) -> None:
    words = ["--set", "api_key=wrong-key-hunter2", "--set", f"base_url={hello_api.url}"]
    synced = installed("plugin", "run", HELLO, *words, status=5)
    assert "plugin-unauthenticated (exit 5)" in synced.err
    assert "the service does not accept the key" in synced.err
    assert "hunter2" not in synced.err


# ── aperio's own configuration ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text", ["[publishers", "colour = 1\n", "[[publishers]]\nnamespace = 1\n", "\x00"]
)
def test_a_configuration_that_cannot_be_read_stops_everything_but_doctor(
    aperio: Aperio, text: str
) -> None:
    (aperio.home / "config.toml").write_text(text)
    for words in (("trust", "show"), ("plugin", "install", "./x.tar.gz")):
        told = aperio.refuses(*words, code="configuration-invalid", status=2)
        assert "config.toml" in told.what + told.why


def test_doctor_goes_on_when_the_configuration_cannot_be_read(aperio: Aperio) -> None:
    aperio("doctor")
    (aperio.home / "config.toml").write_text("[publishers")

    done = aperio("doctor", "--json", status=1)

    assert [finding["code"] for finding in done.data["findings"]] == ["configuration-invalid"]
    assert "config.toml" in done.data["findings"][0]["what"]
    assert [root["name"] for root in done.data["trusted_roots"]] == ["local", "public", "staging"]


def test_a_limit_that_is_required_and_not_enforced_refuses_the_start(installed: Aperio) -> None:
    with (installed.home / "config.toml").open("a") as file:
        file.write('[sandbox]\nrequire = ["memory"]\n')
    told = installed.refuses("plugin", "run", HELLO, "schema", code="limit-required", status=3)
    assert "memory" in told.why
