"""Helm chart of a release as a package and as an OCI artifact; crds.yaml and install.yaml."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from contentgen_cluster.commands import run
from contentgen_release.artifacts import archives, oci
from contentgen_release.errors import ReleaseError
from contentgen_release.source import ReleaseSource

NAMESPACE = "contentgen"
_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_SECTIONS = {"operator": ("image",), "worker": ("worker", "image"), "sandbox": ("sandbox", "image")}
_SECRETS = ("providers.existingSecret=provider-keys", "mongodb.existingSecret=mongodb")
"""Secrets of docs/install.md."""
_KEY = re.compile(r"(?P<indent> *)(?P<name>[\w-]+):(?P<space> *)(?P<value>.*)")
_HEADER = "# contentgen {version}, commit {commit}\n"


def image_values(registry: str, digests: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Values for the images in a registry, by path; `digests` are by short name and empty without images."""
    values = {}
    for name, section in _SECTIONS.items():
        values[(*section, "repository")] = f"{registry}/contentgen-{name}"
        if name in digests:
            values[(*section, "digest")] = digests[name]
    return values


def with_values(text: str, values: Mapping[tuple[str, ...], str]) -> str:
    """values.yaml with some scalars replaced and its comments kept. Raises ReleaseError if a path is not in it."""
    left = dict(values)
    path: list[tuple[int, str]] = []
    lines = []
    for line in text.splitlines():
        match = _KEY.fullmatch(line)
        if match is not None:
            indent = len(match["indent"])
            path = [each for each in path if each[0] < indent] + [(indent, match["name"])]
            value = left.pop(tuple(name for _, name in path), None)
            if value is not None:
                line = f'{match["indent"]}{match["name"]}: "{value}"'  # noqa: PLW2901
        lines.append(line)
    if left:
        raise ReleaseError(f"values.yaml has no {', '.join('.'.join(each) for each in left)}")
    return "\n".join(lines) + "\n"


def with_annotations(text: str, version: str, registry: str, digests: Mapping[str, str]) -> str:
    """Chart.yaml whose annotations for Artifact Hub name the release's images and whether it is a pre-release."""

    def named(found: re.Match[str]) -> str:
        name = found["name"]
        return f"{found['key']}{registry}/contentgen-{name}" + (
            f"@{digests[name]}" if name in digests else f":{version}"
        )

    text = re.sub(r"(?m)^(?P<key> +image: )\S*contentgen-(?P<name>\w+):\S+$", named, text)
    early = str("-" in version).lower()
    return re.sub(r"(?m)^(  artifacthub\.io/prerelease: ).*$", rf'\g<1>"{early}"', text)


def package(helm: Path, staged: Path, origin: ReleaseSource, registry: str, digests: Mapping[str, str]) -> bytes:
    """Chart package (.tgz) that names the images in a registry by their digests."""
    chart = staged / "charts/contentgen"
    text = (chart / "values.yaml").read_text()
    (chart / "values.yaml").write_text(with_values(text, image_values(registry, digests)))
    about = chart / "Chart.yaml"
    about.write_text(with_annotations(about.read_text(), origin.version, registry, digests))
    with tempfile.TemporaryDirectory() as scratch:
        run(helm, "package", chart, "--destination", scratch)
        (packed,) = Path(scratch).glob("*.tgz")
        return archives.normalized(packed.read_bytes(), origin.epoch)


def write_oci(path: Path, staged: Path, packed: bytes, origin: ReleaseSource) -> str:
    """Write the package as the artifact that `helm push` would make, without its time; returns its digest."""
    about = yaml.safe_load((staged / "charts/contentgen/Chart.yaml").read_text())
    annotations = {
        "org.opencontainers.image.title": about["name"],
        "org.opencontainers.image.description": about["description"],
        "org.opencontainers.image.version": origin.version,
        "org.opencontainers.image.revision": origin.commit,
    }
    return oci.write_artifact(
        path,
        origin.version,
        config=(oci.encoded(about), _CONFIG),
        layer=(packed, _LAYER),
        annotations={"manifest": annotations},
    )


def crds(staged: Path, origin: ReleaseSource) -> str:
    """All CRDs in one file."""
    texts = [path.read_text() for path in sorted((staged / "crds").glob("*.yaml"))]
    return _HEADER.format(version=origin.version, commit=origin.commit) + "---\n".join(texts)


def install(helm: Path, packed: Path, origin: ReleaseSource) -> str:
    """Manifests for `kubectl apply`: namespace, CRDs and the chart with the Secrets of docs/install.md."""
    sets = [part for value in _SECRETS for part in ("--set", value)]
    rendered = run(helm, "template", "contentgen", packed, "--namespace", NAMESPACE, "--no-hooks", *sets)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    header = _HEADER.format(version=origin.version, commit=origin.commit)
    return f"{header}---\n{yaml.safe_dump(namespace, sort_keys=False)}{rendered}"
