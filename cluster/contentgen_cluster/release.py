"""Installation of the chart on the cluster of `.cluster/`, with kubectl, helm and port-forwards.

The demo and the end-to-end tests use these functions; kubectl and helm make them work on any cluster.
`make test` runs suites side by side with a release for each: the environment names the release's namespace, and the one
namespace whose resources it works on.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RELEASE = "contentgen"
NAMESPACE = os.environ.get("CONTENTGEN_TEST_RELEASE") or "contentgen"
WATCHED = os.environ.get("CONTENTGEN_TEST_WATCHED") or None
"""Namespace that the release is limited to; None means all namespaces."""
CLASS = NAMESPACE if WATCHED else "default"
"""Operator class of the release; a cluster has one release per class."""
LANE_LABEL = "contentgen.dev/test-lane"
"""Label on the namespaces of a test lane; its value is the namespace of the lane's release."""
SANDBOX = f"http://contentgen-sandbox.{NAMESPACE}.svc"
"""The sandbox's address inside the cluster."""
FILES_PORT = 5001
FILES_ENDPOINT = f"http://localhost:{FILES_PORT}"
"""Endpoint of the sandbox's bucket for browsers on this machine, forwarded by `make ui`."""


class CommandFailed(Exception):
    """kubectl or helm failed; the message is its output."""


def kubectl(root: Path, *args: str, stdin: str | None = None) -> str:
    """Run kubectl on the clone's cluster; returns its standard output."""
    return _run(root, "kubectl", *args, stdin=stdin)


def helm(root: Path, *args: str, program: str = "helm", with_errors: bool = False) -> str:
    """Run helm against the clone's cluster, or its other major (`helm3`); its standard output, and that of errors,
    where the logs of hooks are."""
    return _run(root, program, *args, with_errors=with_errors)


def install(root: Path, *values: str, seconds: int = 300, program: str = "helm", chart: Path | None = None) -> str:
    """Install or upgrade the release with the sandbox and the loaded images; returns helm's output.

    `values` are further `--set` options; `chart` replaces the clone's chart.
    """
    settings = [
        "sandbox.enabled=true",
        f"gateway.filesEndpoint={FILES_ENDPOINT}",
        # One replica: tests read the log and the counters of a single gateway, and two cores are few.
        "gateway.replicas=1",
        *images(root),
        *(_limited(root, WATCHED) if WATCHED else ()),
        *values,
    ]
    sets = [part for value in settings for part in ("--set", value)]
    source = str(chart or root / "charts/contentgen")
    where = ["--namespace", NAMESPACE, "--create-namespace"]
    # Tests that applied the CRDs themselves cause field conflicts. helm 3 applies on the client, without conflicts.
    force = ["--force-conflicts"] if program == "helm" else []
    how = [*where, *force, "--wait", "--timeout", f"{seconds}s", *sets]
    said = helm(root, "upgrade", "--install", RELEASE, source, *how, program=program)
    # Refresh of kubectl's discovery cache: kubectl refreshes it for an unknown kind, but not for an unknown category.
    kubectl(root, "api-resources", "--output", "name")
    return said


def images(root: Path) -> list[str]:
    """Chart values with the loaded images."""
    loaded: dict[str, str] = json.loads((root / ".cluster/images.json").read_text())
    parts = {"image": "operator", "worker.image": "worker", "sandbox.image": "sandbox"}
    return [f"{value}.reference={loaded[name]}" for value, name in parts.items()]


def of_class(spec: dict[str, Any]) -> dict[str, Any]:
    """Spec with the operator class of this release."""
    return spec if CLASS == "default" else {"operatorClass": CLASS} | spec


def uninstall(root: Path, seconds: int = 150, program: str = "helm") -> str:
    """Uninstall the release; returns the output of helm and its hook."""
    how = ("--namespace", NAMESPACE, "--wait", "--timeout", f"{seconds}s")
    return helm(root, "uninstall", RELEASE, *how, program=program, with_errors=True)


def lanes_down(root: Path, names: Sequence[str] = (), seconds: float = 300) -> list[str]:
    """Uninstall the releases of test lanes (of these namespaces, or all) and delete their namespaces. Raises
    TimeoutError if a namespace stays Terminating.

    Only namespaces with our label are touched: on a cluster of the user's, others may have any name. Without the hook
    that releases finalizers: it needs the watched namespace, which a suite deletes at its end.
    """
    chosen = f"{LANE_LABEL} in ({', '.join(names)})" if names else LANE_LABEL
    found = _names(root, chosen)
    installed = json.loads(helm(root, "list", "--all-namespaces", "--output", "json"))
    releases = [each["namespace"] for each in installed if each["name"] == RELEASE and each["namespace"] in found]
    for lane in releases:
        helm(root, "uninstall", RELEASE, "--namespace", lane, "--no-hooks", "--wait", "--timeout", "60s")
        _release_class(root, lane)
    if found:
        kubectl(root, "delete", "namespaces", *found, "--ignore-not-found", "--wait=false")
    deadline = time.monotonic() + seconds
    # An operator whose pod still runs adds finalizers again, but not to a resource that is being deleted.
    while left := _names(root, chosen):
        for namespace in left:
            drop_finalizers(root, namespace)
        if time.monotonic() > deadline:
            raise TimeoutError(f"Terminating after {seconds:.0f} s: {'; '.join(terminating(_namespaces(root)))}")
        time.sleep(1)
    return releases


def _names(root: Path, selector: str) -> list[str]:
    listed = kubectl(root, "get", "namespaces", "--selector", selector, "--output", "name").split()
    return [name.removeprefix("namespace/") for name in listed]


def _release_class(root: Path, lane: str) -> None:
    """Delete the release's OperatorClass, as the hook does. Older releases have none."""
    if kubectl(root, "get", "crd", "operatorclasses.contentgen.dev", "--ignore-not-found", "--output", "name"):
        kubectl(root, "delete", "operatorclass", lane, "--ignore-not-found")


def drop_finalizers(root: Path, namespace: str) -> None:
    """Remove the finalizers of a namespace's resources: the operator's Role is deleted with the namespace."""
    where = ("--namespace", namespace)
    none = ("--type=merge", "--patch", '{"metadata": {"finalizers": null}}')
    for resource in json.loads(kubectl(root, *where, "get", "contentgen", "--output", "json"))["items"]:
        if resource["metadata"].get("finalizers"):
            with contextlib.suppress(CommandFailed):  # it is gone since
                kubectl(root, *where, "patch", resource["kind"].lower(), resource["metadata"]["name"], *none)


def wait_until_namespaces_end(root: Path, seconds: float = 300) -> None:
    """Wait until no namespace is Terminating. Raises TimeoutError with what remains in each."""
    deadline = time.monotonic() + seconds
    while remaining := terminating(_namespaces(root)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Terminating after {seconds:.0f} s: {'; '.join(remaining)}")
        time.sleep(2)


def _namespaces(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl(root, "get", "namespaces", "--output", "json"))["items"]
    return found


def terminating(namespaces: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the namespaces that are being deleted, each with what the API server says remains in it."""
    return [
        " ".join([namespace["metadata"]["name"], *_remains(namespace["status"])])
        for namespace in namespaces
        if namespace["metadata"].get("deletionTimestamp")
    ]


def _remains(status: dict[str, Any]) -> list[str]:
    return [f"({condition['message']})" for condition in status.get("conditions", ()) if condition["status"] == "True"]


def work_namespace(suite: str) -> str:
    """Namespace for a suite's resources: the watched one of a limited release, else a new one."""
    return WATCHED or f"{suite}-{int(time.time())}"


def make_namespace(root: Path, name: str) -> None:
    """Create a namespace with the restricted Pod Security Standard, unless it exists."""
    lane = {LANE_LABEL: NAMESPACE} if WATCHED else {}
    meta = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"} | lane}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    kubectl(root, "apply", "--filename", "-", stdin=json.dumps(body))


def _limited(root: Path, watched: str) -> tuple[str, ...]:
    """Chart values of an additional release. Its namespaces are created first: it has a Role in the watched one."""
    for name in (NAMESPACE, watched):
        make_namespace(root, name)
    small = (f"{part}resources.requests.cpu=20m" for part in ("", "gateway.", "sandbox."))
    # One replica: with a standby per lane, two cores would mostly start processes.
    return (f"watchNamespaces={{{watched}}}", f"operatorClass={CLASS}", "crds.install=false", "replicas=1", *small)


@contextlib.contextmanager
def port_forward(root: Path, namespace: str, target: str, port: str | int, local: int | None = None) -> Iterator[int]:
    """Local port forwarded to `target` (such as `svc/contentgen-sandbox`) within the context.

    `local` is the local port; None for any free one.
    """
    forward = _Forward([_tool(root, "kubectl"), "--namespace", namespace, "port-forward", target], port, root, local)
    try:
        yield forward.local
    finally:
        forward.close()


class _Forward:
    """Port-forward that restarts kubectl on the same local port: kubectl exits when the pod refuses a connection."""

    def __init__(self, command: list[str], port: str | int, root: Path, local: int | None) -> None:
        self._command, self._port, self._environment = command, port, _environment(root)
        self._closing = threading.Event()
        self._process = self._start(local or "")
        try:
            self.local = _local_port(self._process)
        except BaseException:  # also SystemExit by a signal: nothing else would end the process
            self._process.terminate()
            raise
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._process.terminate()
        self._thread.join(10)

    def _start(self, local: int | str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, f"{local}:{self._port}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _keep(self) -> None:
        while True:
            with self._process as process:
                assert process.stdout is not None
                for _ in process.stdout:  # one line per connection; an unread pipe would block kubectl
                    pass
            if self._closing.wait(0.5):
                return
            self._process = self._start(self.local)
            if self._closing.is_set():
                self._process.terminate()


def _local_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
        if time.monotonic() > deadline:
            break
    process.kill()
    process.communicate()
    raise CommandFailed(f"kubectl port-forward: {''.join(said).strip() or 'it exited without output'}")


def _run(root: Path, tool: str, *args: str, stdin: str | None = None, with_errors: bool = False) -> str:
    done = subprocess.run(
        [_tool(root, tool), *args],
        env=_environment(root),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"{tool} {' '.join(args[:3])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout + done.stderr if with_errors else done.stdout


def _tool(root: Path, tool: str) -> str:
    path = root / ".cluster/bin" / tool
    if not path.exists():
        raise CommandFailed(f"{path} is missing: run `make cluster` first")
    return str(path)


def _environment(root: Path) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": str(root / ".cluster/kubeconfig")}
