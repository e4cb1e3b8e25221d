"""`make release-check`: a release is installed on the cluster from its own files, through a registry on loopback."""

import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from contentgen_cluster import release as cluster
from contentgen_cluster.cache import unpack
from contentgen_cluster.commands import run
from contentgen_release import integrity, registry
from contentgen_release.artifacts.chart import NAMESPACE
from contentgen_release.build import KREW, repository
from contentgen_release.errors import ReleaseError
from contentgen_release.verification import Release

SAMPLES = "release-check"
"""Namespace of the sample."""
_SECONDS = 300
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SECTIONS = {"operator": "image", "worker": "worker.image", "sandbox": "sandbox.image"}
_SAMPLE = {
    "apiVersion": "contentgen.dev/v1alpha1",
    "kind": "ImageGeneration",
    "metadata": {"name": "picture", "namespace": SAMPLES},
    "spec": {"model": "flux-schnell", "prompt": "a lighthouse at dusk", "image": {"count": 1}},
}
Report = Callable[[str], None]


def check(root: Path, release: Release, crane: Path, report: Report) -> None:
    """Install a verified release on the cluster of `root`, use it and uninstall it. Raises ReleaseError,
    CommandError or CommandFailed at the first problem."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with registry.loopback(crane, folder / "blobs") as address:
            registry.publish(release, address, crane, report)
            try:
                _install(root, release, address, report)
                _pods(root, release, report)
                cluster.helm(root, "test", cluster.RELEASE, "--namespace", NAMESPACE, "--timeout", f"{_SECONDS}s")
                report("helm test passed")
                _sample(root, report)
                _manifests(root, release, report)
                _plugin(root, release, folder, report)
            finally:
                cluster.helm(
                    root, "uninstall", cluster.RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"
                )
                cluster.kubectl(root, "delete", "namespace", SAMPLES, NAMESPACE, "--ignore-not-found")
    report("uninstalled")


def _install(root: Path, release: Release, address: str, report: Report) -> None:
    chart = f"oci://{repository(address, 'chart')}"
    values = ["sandbox.enabled=true", "gateway.replicas=1", "replicas=1"]
    # The chart names the registry of the release, which need not be there yet. Its digests stay.
    values += [f"{section}.repository={repository(address, name)}" for name, section in _SECTIONS.items()]
    sets = [part for value in values for part in ("--set", value)]
    cluster.helm(
        root, "install", cluster.RELEASE, chart, "--version", release.version, "--plain-http", "--namespace", NAMESPACE,
        "--create-namespace", "--wait", "--timeout", f"{_SECONDS}s", *sets,
    )  # fmt: skip
    cluster.kubectl(root, "api-resources", "--output", "name")  # kubectl refreshes its discovery cache
    report(f"helm installed {chart} {release.version}")


def _pods(root: Path, release: Release, report: Report) -> None:
    """Every container runs an image of the release by its digest."""
    listed = json.loads(cluster.kubectl(root, "--namespace", NAMESPACE, "get", "pods", "--output", "json"))
    images = {container["image"] for pod in listed["items"] for container in pod["spec"]["containers"]}
    wrong = [image for image in images if image.partition("@")[2] not in release.digests.values()]
    if wrong or not images:
        raise ReleaseError(f"pods run images that are not the release's: {', '.join(sorted(wrong)) or 'none'}")
    report(f"{len(listed['items'])} pods run {len(images)} images, by the release's digests")


def _sample(root: Path, report: Report) -> None:
    cluster.make_namespace(root, SAMPLES)
    cluster.kubectl(root, "apply", "--filename", "-", stdin=json.dumps(_SAMPLE))
    where = ("--namespace", SAMPLES)
    cluster.kubectl(
        root, *where, "wait", "imagegeneration/picture", "--for=condition=Complete", f"--timeout={_SECONDS}s"
    )
    found = json.loads(cluster.kubectl(root, *where, "get", "imagegeneration", "picture", "--output", "json"))
    if found["status"].get("phase") != "Completed":
        raise ReleaseError(f"the sample is {found['status'].get('phase')}: expected Completed")
    report("ImageGeneration picture: Completed, by the worker image and the sandbox's provider")


def _manifests(root: Path, release: Release, report: Report) -> None:
    """The API server accepts crds.yaml and install.yaml (dry run beside the installed release)."""
    how = ("--server-side", "--force-conflicts", "--dry-run=server", "--output", "name")
    for name in ("crds.yaml", "install.yaml"):
        said = cluster.kubectl(root, "apply", *how, "--filename", str(release.folder / name)).split()
        report(f"{name}: the API server accepts its {len(said)} objects")


def _plugin(root: Path, release: Release, folder: Path, report: Report) -> None:
    """kubectl runs the program of the archive for this machine, which has the checksum of the krew manifest."""
    system, machine = platform.system().lower(), _MACHINES[platform.machine()]
    manifest = yaml.safe_load((release.folder / KREW).read_text())
    labels = {"matchLabels": {"os": system, "arch": machine}}
    (about,) = (each_platform for each_platform in manifest["spec"]["platforms"] if each_platform["selector"] == labels)
    archive = release.folder / about["uri"].rpartition("/")[2]
    if integrity.sha256(archive) != about["sha256"]:
        raise ReleaseError(f"{archive.name} differs from its checksum in {KREW}")
    unpack(archive, folder / "plugin")
    path = os.pathsep.join((str(folder / "plugin"), str(root / ".cluster/bin"), os.environ["PATH"]))
    where = {"PATH": path, "KUBECONFIG": str(root / ".cluster/kubeconfig"), "PYTHONPATH": ""}
    run("kubectl", "contentgen", "--help", env=where)
    version = run("kubectl", "contentgen", "version", env=where).strip()
    why = run("kubectl", "contentgen", "why", "imagegen/picture", "--namespace", SAMPLES, env=where)
    if release.version not in version or "Completed" not in why:
        raise ReleaseError(f"the plugin said {version!r} and {why!r}: expected {release.version} and Completed")
    report(f"{archive.name}: kubectl ran --help, version and why")
