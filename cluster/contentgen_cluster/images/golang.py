"""Builds from Go sources: Kubernetes as one program, pause, versitygw, helm-unittest, kstatus, olm-validate."""

import re
import shutil
import threading
from pathlib import Path

from contentgen_cluster.cache import ContentCache, content_key
from contentgen_cluster.commands import run
from contentgen_cluster.images import wheels
from contentgen_cluster.paths import API_SERVERS, GO_MODULE, HELM_UNITTEST, KSTATUS, OLM_VALIDATE

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
CRANE = "github.com/google/go-containerregistry/cmd/crane@v0.20.6"
KIND = "sigs.k8s.io/kind@v0.31.0"
NEEDED = (1, 26)  # by Kubernetes 1.36

# A static binary is reproducible and needs no C compiler. Go must not download another toolchain. `rm -r` can remove
# the module cache only if it is writable.
_ENV = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -trimpath -modcacherw"}
_toolchain_guard = threading.Lock()


def kubernetes_version(go_mod: str) -> str:
    """Kubernetes version required by a go.mod, such as v1.35.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\d+\.\d+\.\d+)$", go_mod, re.MULTILINE)
    if found is None:
        raise ValueError("go.mod does not require k8s.io/kubernetes")
    return found[1]


def recent_enough(version: str) -> bool:
    """Whether a Go version (`go env GOVERSION`, such as go1.26.8) can build the programs."""
    found = re.match(r"go(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= NEEDED


def kubernetes_key() -> str:
    return content_key(*_sources(GO_MODULE), _ldflags((GO_MODULE / "go.mod").read_text()))


def kubernetes(cache: ContentCache) -> Path:
    """Kubernetes: one program for every component of the cluster."""

    def build(target: Path) -> None:
        # DWARF is omitted: the programs are not debugged, and the build of some six minutes becomes shorter.
        flags = ["-gcflags=all=-dwarf=false", "-ldflags", _ldflags((GO_MODULE / "go.mod").read_text())]
        run(_go(cache), "build", *flags, "-o", target, ".", env=_ENV, cwd=GO_MODULE)

    return cache.entry("kubernetes", kubernetes_key(), build)


def api_servers() -> dict[str, Path | None]:
    """Go modules of API servers by Kubernetes minor; None for the one of the cluster's program."""
    version = kubernetes_version((GO_MODULE / "go.mod").read_text())
    others = {folder.name.removeprefix("v"): folder for folder in sorted(API_SERVERS.iterdir()) if folder.is_dir()}
    return {version.removeprefix("v").rpartition(".")[0]: None, **others}


def api_server(cache: ContentCache, minor: str) -> tuple[Path, ...]:
    """Command of the API server of a Kubernetes minor: the program, and possibly the component."""
    module = api_servers()[minor]
    if module is None:
        return kubernetes(cache), Path("kube-apiserver")
    go_mod = (module / "go.mod").read_text()

    def build(target: Path) -> None:
        flags = ["-gcflags=all=-dwarf=false", "-ldflags", _ldflags(go_mod)]
        run(_go(cache), "build", *flags, "-o", target, ".", env=_ENV, cwd=module)

    return (cache.entry("kube-apiserver", content_key(*_sources(module), _ldflags(go_mod)), build),)


def pause(cache: ContentCache) -> Path:
    """pause, the program that keeps a pod's namespaces."""

    def build(target: Path) -> None:
        run(_go(cache), "build", "-ldflags", "-s -w", "-o", target, "main.go", env=_ENV, cwd=GO_MODULE / "pause")

    return cache.entry("pause", content_key(GO_MODULE / "pause"), build)


def versitygw(cache: ContentCache) -> Path:
    """versitygw, the object store of the sandbox image."""
    return _installed(cache, VERSITYGW, "versitygw")


def crane(cache: ContentCache) -> Path:
    """crane, which pushes OCI layouts to registries, and serves a registry for tests."""
    return _installed(cache, CRANE, "crane")


def versitygw_for(cache: ContentCache, architecture: str) -> Path:
    """versitygw for another architecture than this machine's."""

    def install(target: Path) -> None:
        # Go refuses GOBIN for other architectures.
        path = target.with_name(target.name + ".path")
        run(_go(cache), "install", "-ldflags", "-s -w", VERSITYGW, env={**_ENV, **cross, "GOPATH": str(path)})
        shutil.move(path / f"bin/linux_{architecture}/versitygw", target)
        shutil.rmtree(path)

    modules = run(_go(cache), "env", "GOMODCACHE", env={"GOTOOLCHAIN": "local"}).strip()
    cross = {"GOOS": "linux", "GOARCH": architecture, "GOMODCACHE": modules}
    return cache.entry(f"versitygw-{architecture}", content_key(VERSITYGW), install)


def kind(cache: ContentCache) -> Path:
    """kind, for machines with Docker."""
    return _installed(cache, KIND, "kind")


def helm_unittest(cache: ContentCache) -> Path:
    """Folder with helm-unittest, which runs the chart's tests."""

    def build(target: Path) -> None:
        program = "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
        output = target / "helm-unittest"
        run(_go(cache), "build", "-ldflags", "-s -w", "-o", output, program, env=_ENV, cwd=HELM_UNITTEST)

    return cache.entry("helm-unittest", content_key(HELM_UNITTEST), build)


def kstatus(cache: ContentCache) -> Path:
    """Folder with a program that prints the kstatus of an object."""

    def build(target: Path) -> None:
        run(_go(cache), "build", "-ldflags", "-s -w", "-o", target / "kstatus", ".", env=_ENV, cwd=KSTATUS)

    return cache.entry("kstatus", content_key(*_sources(KSTATUS)), build)


def olm_validate(cache: ContentCache) -> Path:
    """Folder with a program that runs operator-framework's validators on an OLM bundle."""

    def build(target: Path) -> None:
        run(_go(cache), "build", "-ldflags", "-s -w", "-o", target / "olm-validate", ".", env=_ENV, cwd=OLM_VALIDATE)

    return cache.entry("olm-validate", content_key(*_sources(OLM_VALIDATE)), build)


def _installed(cache: ContentCache, module: str, program: str) -> Path:
    def install(target: Path) -> None:
        folder = target.with_name(target.name + ".bin")
        run(_go(cache), "install", "-ldflags", "-s -w", module, env={**_ENV, "GOBIN": str(folder)})
        shutil.move(folder / program, target)
        folder.rmdir()

    return cache.entry(program, content_key(module), install)


def _go(cache: ContentCache) -> Path:
    with _toolchain_guard:
        found = shutil.which("go")
        if found and recent_enough(run(found, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"})):
            return Path(found)
        return wheels.go_toolchain(cache) / "bin/go"


def _sources(module: Path) -> list[Path]:
    return [module / name for name in ("go.mod", "go.sum", "main.go")]


def _ldflags(go_mod: str) -> str:
    """Linker flags for the version: kubectl and the node's registration need it."""
    version = kubernetes_version(go_mod)
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())])
