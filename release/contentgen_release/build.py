"""`make release`: all artifacts of a version in dist/release/VERSION."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.model.component import Component

from contentgen_release import integrity, signing
from contentgen_release.artifacts import chart, images, notes, plugin, sbom, wheel
from contentgen_release.signing import Signer
from contentgen_release.source import ReleaseSource, stage

INDEX = "release.json"
NOTES = "RELEASE_NOTES.md"
KREW = "krew-contentgen.yaml"
PYTHON = "3.11"
"""Python of the images."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class ReleasePlan:
    """Options of a build; without platforms no images are built.

    `registry` is the prefix of the images' names, `downloads` the URL of the folder with the files.
    """

    root: Path
    origin: ReleaseSource
    helm: Path
    registry: str
    downloads: str
    platforms: Sequence[str]
    signer: Signer | None


def build(plan: ReleasePlan, report: Report) -> Path:
    """Write the release; returns its folder, which is replaced only by a complete one. Raises ReleaseError."""
    text = notes.release_notes((plan.root / "CHANGELOG.md").read_text(), plan.origin.version)
    final = plan.root / "dist/release" / plan.origin.version
    output = final.with_name(f".{plan.origin.version}.unfinished")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / NOTES).write_text(text)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        staged = stage(plan.root, Path(scratch) / "source", plan.origin)
        digests = _images(plan, staged, Path(scratch) / "images", output, report)
        _chart(plan, staged, output, digests, report)
        _packages(plan, staged, output, report)
    _finish(plan, output, digests)
    shutil.rmtree(final, ignore_errors=True)
    output.rename(final)
    return final


def _images(plan: ReleasePlan, staged: Path, scratch: Path, output: Path, report: Report) -> dict[str, str]:
    """Digests of the images by short name; their archives and SBOMs are in `output`."""
    if not plan.platforms:
        report("no images")
        return {}
    scratch.mkdir()
    digests = images.build(plan.root, scratch, output, plan.origin, plan.platforms)
    debian = sbom.debian_components((staged / "requirements/base.lock").read_text(), _architectures(plan))
    for name, digest in digests.items():
        report(f"image {name} {digest}")
        python = {
            component
            for architecture in _architectures(plan)
            for component in sbom.python_components(staged / f"requirements/{name}.txt", PYTHON, architecture)
        }
        components = [*python, *debian]
        _write_sbom(plan, output, f"contentgen-{name}", digest.removeprefix("sha256:"), components, container=True)
    return digests


def _architectures(plan: ReleasePlan) -> list[str]:
    return [platform.removeprefix("linux/") for platform in plan.platforms]


def _chart(plan: ReleasePlan, staged: Path, output: Path, digests: dict[str, str], report: Report) -> None:
    """Chart package, OCI artifact, crds.yaml and install.yaml; adds the artifact's digest to `digests`."""
    version = plan.origin.version
    packed = chart.package(plan.helm, staged, plan.origin, plan.registry, digests)
    tgz = output / f"contentgen-{version}.tgz"
    tgz.write_bytes(packed)
    digests["chart"] = chart.write_oci(output / images.archive_name("chart", version), staged, packed, plan.origin)
    report(f"chart {digests['chart']}")
    (output / "crds.yaml").write_text(chart.crds(staged, plan.origin))
    (output / "install.yaml").write_text(chart.install(plan.helm, tgz, plan.origin))
    report("crds.yaml, install.yaml")


def _packages(plan: ReleasePlan, staged: Path, output: Path, report: Report) -> None:
    """Wheel, plugin archives, krew manifest, and their SBOMs."""
    made = wheel.build(staged, plan.origin, output)
    report(made.name)
    sums = {}
    for platform, content in plugin.build(staged, plan.origin):
        path = output / plugin.archive_name(platform, plan.origin)
        path.write_bytes(content)
        sums[platform] = integrity.sha256(path)
        report(path.name)
    (output / KREW).write_text(plugin.manifest(plan.origin, plan.downloads, sums))
    components = sbom.python_components(staged / "requirements/cli.txt", PYTHON)
    _write_sbom(plan, output, plugin.PROGRAM, sums["linux-amd64"], components, container=False)


def _write_sbom(
    plan: ReleasePlan, output: Path, subject: str, sha256: str, components: Sequence[Component], *, container: bool
) -> None:
    text = sbom.document(subject, sha256, plan.origin, components, container=container)
    (output / f"{subject}-{plan.origin.version}.cdx.json").write_text(text)


def _finish(plan: ReleasePlan, output: Path, digests: Mapping[str, str]) -> None:
    """Signatures of the images, release.json, checksums, and the signature of these."""
    version = plan.origin.version
    if plan.signer:
        (output / signing.PUBLIC_KEY).write_bytes(plan.signer.public_pem())
        for name, digest in digests.items():
            path = output / images.signature_name(name, version)
            signing.sign_image(plan.signer, repository(plan.registry, name), digest, path)
    about = {
        "version": version,
        "commit": plan.origin.commit,
        "epoch": plan.origin.epoch,
        "dirty": plan.origin.dirty,
        "registry": plan.registry,
        "platforms": list(plan.platforms),
        "digests": dict(digests),
        "files": {path.name: integrity.sha256(path) for path in sorted(output.iterdir())},
    }
    (output / INDEX).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    sums = integrity.write_sums(output)
    if plan.signer:
        (output / integrity.SIGNATURE).write_bytes(plan.signer.sign(sums) + b"\n")


def repository(registry: str, name: str) -> str:
    """Repository of an image, or of the chart (`helm install oci://REGISTRY/charts/contentgen`)."""
    return f"{registry}/charts/contentgen" if name == "chart" else f"{registry}/contentgen-{name}"
