"""Validation of the chart's monitoring without a cluster, for Prometheus, its operator and Grafana."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from contentgen_gateway import metrics as gateway
from contentgen_operator import metrics
from contentgen_operator.components import GAUGES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOOLS = ROOT / ".cluster" / "bin"
RUNBOOKS = ROOT / "docs" / "runbooks"
ENABLED = [
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "monitoring.rules.runbookUrl=https://docs.local/runbooks",
    "monitoring.dashboard.enabled=true",
]
# Labels that Prometheus adds to every series of a target, and those made by queries.
OF_THE_TARGET = {"job", "namespace", "le"}
Manifest = dict[str, Any]


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    path = TOOLS / program
    if not path.exists():
        pytest.fail(
            f"there is no {path}: run `.venv/bin/python -m contentgen_cluster tools helm helm3 helm-unittest promtool`"
        )
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def rendered() -> dict[str, Manifest]:
    """Monitoring manifests by kind."""
    settings = [word for value in ENABLED for word in ("--set", value)]
    chart = ROOT / "charts" / "contentgen"
    result = run("helm", "template", "contentgen", chart, "--namespace", "contentgen", *settings)
    assert result.returncode == 0, result.stderr
    return {m["kind"]: m for m in yaml.load_all(result.stdout, yaml.CSafeLoader) if m}


def alerts(rendered: dict[str, Manifest]) -> list[Manifest]:
    found: list[Manifest] = rendered["PrometheusRule"]["spec"]["groups"][0]["rules"]
    return found


def queries(rendered: dict[str, Manifest]) -> dict[str, str]:
    """Expressions of the rules and of the dashboard, by location."""
    board = json.loads(rendered["ConfigMap"]["data"]["contentgen.json"])
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    return {alert["alert"]: alert["expr"] for alert in alerts(rendered)} | panels


def series() -> dict[str, set[str]]:
    """Labels of a scrape's series by name."""
    metrics.gauges.features = GAUGES  # as in a process of the operator
    known = {
        family.name: {label for sample in family.samples for label in sample.labels}
        for family in text_string_to_metric_families(metrics.exposition().decode())
    }
    described = (*metrics.described(), *gateway.described())
    ours = {each.name: set(each.labels) for each in described}
    histograms = {each.name for each in described if each.type == "histogram"}
    buckets = {f"{name}_bucket": ours[name] for name in histograms}
    process = {name: labels for name, labels in known.items() if name.startswith("process_")}
    return ours | buckets | process | {"process_cpu_seconds_total": set(), "up": set()}


def strict(schema: Any) -> Any:
    """A CRD's schema as the API server applies it to `kubectl apply --validate=strict`: unknown fields are refused."""
    if isinstance(schema, list):
        return [strict(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    node = {name: strict(below) for name, below in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        node.setdefault("additionalProperties", False)
    return node


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_the_prometheus_operator_takes_it(rendered: dict[str, Manifest], kind: str) -> None:
    schema = strict(json.loads((HERE / "prometheus-operator.json").read_text())[kind])
    jsonschema.Draft202012Validator(schema).validate(rendered[kind]["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(rendered[kind]["spec"] | {"endpoint": []})


def test_every_query_asks_for_metrics_and_labels_that_there_are(rendered: dict[str, Manifest]) -> None:
    known = series()
    for where, query in queries(rendered).items():
        selectors = re.findall(r"\b([a-z_:]+)\{([^}]*)\}", query)
        assert selectors, where
        for name, matchers in selectors:
            assert name in known, f"{where}: there is no metric {name}"
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert {"job", "namespace"} <= labels, f"{where}: {name} of whichever release"
            assert labels <= known[name] | OF_THE_TARGET, f"{where}: {name} has no such label"
        grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", query) for label in by.split(",")}
        assert grouped <= set().union(*(known[name] for name, _ in selectors)) | OF_THE_TARGET, where


def test_every_metric_is_in_the_dashboard_or_an_alert(rendered: dict[str, Manifest]) -> None:
    asked = " ".join(queries(rendered).values())
    assert [each.name for each in (*metrics.described(), *gateway.described()) if each.name not in asked] == []


def test_every_alert_has_its_page_and_every_page_its_alert(rendered: dict[str, Manifest]) -> None:
    names = {alert["alert"] for alert in alerts(rendered)}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names
    for alert in alerts(rendered):
        assert alert["annotations"]["runbook_url"] == f"https://docs.local/runbooks/{alert['alert']}.md"
        text = (RUNBOOKS / f"{alert['alert']}.md").read_text()
        assert text.startswith(f"# {alert['alert']}\n")
        assert "\n## Look\n" in text
        assert "\n## Do\n" in text
        for link in re.findall(r"\]\(([^)]+)\)", text):
            assert (RUNBOOKS / link.partition("#")[0]).is_file(), (alert["alert"], link)


def test_the_rules_fire_when_they_should_and_not_otherwise(rendered: dict[str, Manifest], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rendered["PrometheusRule"]["spec"]))
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text())
    (tmp_path / "alerts_test.yaml").write_text(yaml.safe_dump(tests))
    fired = {t["alertname"] for test in tests["tests"] for t in test["alert_rule_test"] if t.get("exp_alerts")}
    silent = {t["alertname"] for test in tests["tests"] for t in test["alert_rule_test"] if not t.get("exp_alerts")}
    assert fired == silent == {alert["alert"] for alert in alerts(rendered)}, "each alert is seen to fire, and not to"
    checked = run("promtool", "check", "rules", "--lint-fatal", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    result = run("promtool", "test", "rules", tmp_path / "alerts_test.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_dashboards_variables_name_a_metric(rendered: dict[str, Manifest]) -> None:
    board = json.loads(rendered["ConfigMap"]["data"]["contentgen.json"])
    asked = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert [re.findall(r"contentgen_\w+", query) for query in asked] == [
        ["contentgen_queue_depth"],
        ["contentgen_queue_depth"],
        ["contentgen_gateway_streams_open"],
    ]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 15
