"""deploy/gitops: helm renders the values of the examples for Flux and Argo CD."""

import subprocess
from pathlib import Path

import pytest
import yaml

from contentgen_e2e.settings import ROOT

FILES = sorted((ROOT / "deploy/gitops").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_helm_renders_the_values_of_an_example(path: Path, tmp_path: Path) -> None:
    *_, manifest = yaml.safe_load_all(path.read_text())
    spec = manifest["spec"]
    values = spec["values"] if "values" in spec else spec["source"]["helm"]["valuesObject"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    command = [str(ROOT / ".cluster/bin/helm"), "template", "contentgen", str(ROOT / "charts/contentgen")]
    done = subprocess.run(
        [*command, "--values", str(tmp_path / "values.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "registry.example.com/contentgen-operator:" in done.stdout
    assert 'value: "my-bucket"' in done.stdout
