"""Push of a release, with a stand-in for crane that keeps a registry in a folder (`make release-check` has the real
crane and a registry on loopback)."""

import sys
from pathlib import Path

import pytest

from contentgen_cluster.commands import CommandError
from contentgen_release import registry, signing
from contentgen_release.artifacts import oci
from contentgen_release.errors import ReleaseError
from contentgen_release.verification import Release

_CRANE = """#!{python}
import json, pathlib, sys
registry = pathlib.Path({folder!r})
with (registry / "log").open("a") as log:
    log.write(" ".join((sys.argv[1], sys.argv[-1])) + "\\n")
tag = registry / sys.argv[-1].replace("/", "_")
if sys.argv[1] == "push":
    index = json.loads((pathlib.Path(sys.argv[2]) / "index.json").read_text())
    tag.write_text(index["manifests"][0]["digest"])
elif tag.exists():
    print(tag.read_text())
else:
    sys.exit({error!r})
"""


def crane(folder: Path, error: str = "MANIFEST_UNKNOWN: manifest unknown") -> Path:
    program = folder / "crane"
    (folder / "registry").mkdir(exist_ok=True)
    program.write_text(_CRANE.format(python=sys.executable, folder=str(folder / "registry"), error=error))
    program.chmod(0o755)
    return program


def pushes(folder: Path) -> list[str]:
    lines = (folder / "registry/log").read_text().splitlines()
    return [line.removeprefix("push ") for line in lines if line.startswith("push ")]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    digests = {}
    for name in ("operator", "chart"):
        path = tmp_path / f"contentgen-{name}-1.2.3.oci.tar"
        layer = (name.encode(), "application/x")
        digests[name] = oci.write_artifact(path, "1.2.3", config=(b"{}", "application/y"), layer=layer, annotations={})
        path = tmp_path / f"contentgen-{name}-1.2.3.sig.oci.tar"
        oci.write_artifact(path, "s", config=(b"{}", "application/y"), layer=(b"s", "application/x"), annotations={})
    return Release(tmp_path, "1.2.3", "r.example", digests, signed=True)


def test_images_chart_and_signatures_are_pushed_once(release: Release, tmp_path: Path) -> None:
    said: list[str] = []
    registry.publish(release, "r.example/team", crane(tmp_path), said.append)
    tags = [f"{signing.signature_tag(release.digests[name])}" for name in ("operator", "chart")]
    assert pushes(tmp_path) == [
        "r.example/team/contentgen-operator:1.2.3",
        f"r.example/team/contentgen-operator:{tags[0]}",
        "r.example/team/charts/contentgen:1.2.3",
        f"r.example/team/charts/contentgen:{tags[1]}",
    ]
    (tmp_path / "registry/log").unlink()
    registry.publish(release, "r.example/team", crane(tmp_path), said.append)
    assert [push.rpartition(":")[2] for push in pushes(tmp_path)] == tags, "signatures may be of another key"
    assert "already there" in said[-1]


def test_published_version_is_not_changed(release: Release, tmp_path: Path) -> None:
    program = crane(tmp_path)
    (tmp_path / "registry/r.example_charts_contentgen:1.2.3").write_text("sha256:other")
    with pytest.raises(ReleaseError, match="is sha256:other: a published version is not changed"):
        registry.publish(release, "r.example", program, print)
    assert pushes(tmp_path) == []


def test_unreachable_registry_is_an_error_and_not_empty(release: Release, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="UNAUTHORIZED"):
        registry.publish(release, "r.example", crane(tmp_path, "UNAUTHORIZED: sign in"), print)
    assert pushes(tmp_path) == []


def test_another_digest_after_the_push_is_an_error(release: Release, tmp_path: Path) -> None:
    program = crane(tmp_path)
    release.archive("chart").replace(release.archive("operator"))
    with pytest.raises(ReleaseError, match="after the push: expected"):
        registry.publish(release, "r.example", program, print)
