"""Access to the cluster of `make cluster` (`.cluster/`): the installed release and the demo's namespace."""

import contextlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from contentgen_cluster import release
from contentgen_contract.names import GROUP, Kind
from contentgen_demo.errors import DemoError

NAMESPACE = "contentgen-demo"
SANDBOX = "svc/contentgen-sandbox"
SANDBOX_ADDRESS = f"contentgen-sandbox.{release.NAMESPACE}.svc"
SANDBOX_PATH = f"/api/v1/namespaces/{release.NAMESPACE}/services/contentgen-sandbox:http/proxy"
PERSON = "person"
"""Service account in the demo's namespace for signing in to the gateway."""
_RBAC = "rbac.authorization.k8s.io"
_META = {"name": PERSON, "namespace": NAMESPACE}
_RULE = {
    "apiGroups": [GROUP],
    "resources": [kind.plural for kind in Kind],
    "verbs": ["get", "list", "watch", "create", "patch", "delete", "spend"],
}
_MANIFESTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    },
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _META},
    {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": _META, "rules": [_RULE]},
    {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": _META,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": PERSON},
        "subjects": [{"kind": "ServiceAccount", **_META}],
    },
]


class DemoCluster:
    """kubectl and port-forwards. Each forward is opened once and closed with the exit stack."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._ports: dict[str, int] = {}

    def check(self) -> None:
        """Raises DemoError if there is no cluster or its API server does not answer."""
        for name in ("kubeconfig", "images.json", "bin/kubectl", "bin/helm"):
            if not (self._root / ".cluster" / name).exists():
                raise DemoError(f".cluster/{name} is missing: run `make cluster` first")
        try:
            release.kubectl(self._root, "get", "--raw=/readyz", "--request-timeout=10s")
        except release.CommandFailed as error:
            raise DemoError(f"the cluster does not answer; `make cluster` restarts it. {error}") from None

    def install(self) -> None:
        """Install the chart with the sandbox, the demo's namespace and its account. Raises CommandFailed."""
        release.install(self._root)
        self.admit()
        # kubectl keeps for hours which kinds there are, and asks anew for a kind that it lacks but not for a category:
        # `get contentgen` would fail, the user's too, where kubectl was used before the chart was installed.
        release.kubectl(self._root, "api-resources", "--output=name")

    def admit(self) -> None:
        """Create the demo's namespace and an account with rights in it. Raises CommandFailed."""
        listed = {"apiVersion": "v1", "kind": "List", "items": _MANIFESTS}
        release.kubectl(self._root, "apply", "--filename=-", stdin=json.dumps(listed))

    def kubectl(self, *args: str) -> str:
        """Output of kubectl in the demo's namespace. Raises CommandFailed."""
        return release.kubectl(self._root, f"--namespace={NAMESPACE}", *args)

    def all_resources(self) -> list[dict[str, Any]]:
        """Resources of the three kinds in all namespaces. Raises CommandFailed."""
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "contentgen", "--all-namespaces", "--output=json")
        )["items"]
        return found

    def raw(self, path: str) -> Any:
        """Parsed JSON response of the API server for a path. Raises CommandFailed."""
        return json.loads(release.kubectl(self._root, "get", "--raw", path))

    def port(self, name: str) -> int:
        """Local port forwarded to the named port of the sandbox. Raises CommandFailed."""
        if name not in self._ports:
            forward = release.port_forward(self._root, release.NAMESPACE, SANDBOX, name)
            self._ports[name] = self._stack.enter_context(forward)
        return self._ports[name]

    def secret(self, name: str, *keys: str) -> tuple[str, ...]:
        """Decoded values of a Secret of the release. Raises CommandFailed."""
        template = '{{"\\n"}}'.join(f'{{{{index .data "{key}" | base64decode}}}}' for key in keys)
        said = release.kubectl(
            self._root, f"--namespace={release.NAMESPACE}", "get", "secret", name, f"--output=go-template={template}"
        )
        return tuple(said.split("\n"))

    def diagnose(self, resource: dict[str, Any]) -> list[str]:
        """Events, pods and log tails of a resource that is not Completed, one line each."""
        kind, name, uid = resource["kind"], resource["metadata"]["name"], resource["metadata"]["uid"]
        said = []
        for title, args in (
            ("events", ("events", f"--for={kind.lower()}/{name}", "--no-headers")),
            ("pods", ("get", "pods", f"--selector=contentgen.dev/uid={uid}", "--no-headers")),
            ("logs", ("logs", f"--selector=contentgen.dev/uid={uid}", "--tail=10")),
        ):
            with contextlib.suppress(release.CommandFailed):
                text = self.kubectl(*args).strip()
                said += [f"{title}:", *(f"  {line}" for line in text.splitlines())] if text else []
        return said
