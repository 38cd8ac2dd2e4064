"""The dashboard and the alert rules: they name what there is, by labels that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aperio_cli.host.lifecycle import Phase
from aperio_cli.serving.metrics import METRICS
from tests.rows import for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES = ("_bucket", "_sum", "_count")


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression with the text that its labels are shown by."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for rule in RULES:
        yield rule["expr"], " ".join(rule["annotations"].values())


def metric_of(name: str) -> str:
    """The metric that a series belongs to."""
    stems = [name, *(name.removesuffix(suffix) for suffix in SUFFIXES)]
    return next((stem for stem in stems if stem in METRICS), name)


@for_rows(list(expressions()))
def test_an_expression_names_metrics_and_labels_that_there_are(expression: str, shown: str) -> None:
    names = {metric_of(name) for name in re.findall(r"\baperio_\w+", expression)}
    assert names
    assert names <= set(METRICS)
    labels = {label for name in names for label in METRICS[name].labels} | {"le"}
    selected = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    used = {*selected, *(label.strip() for group in grouped for label in group.split(","))}
    used |= set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", shown)) - {"value"}
    assert used <= labels
    for states in re.findall(r'state[=!]~?"([^"]*)"', expression):
        assert set(states.split("|")) <= set(Phase.__members__)


def test_every_metric_is_on_the_dashboard() -> None:
    text = json.dumps(DASHBOARD)
    assert [name for name in METRICS if name not in text] == []


def test_the_page_says_what_each_metric_is() -> None:
    page = (FOLDER.parent / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(aperio_\w+)` \| (\w+) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [
        (name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for name, metric in METRICS.items()
    ]


def test_panels_and_alerts_have_names_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    assert all({"summary", "remedy"} == set(rule["annotations"]) for rule in RULES)
