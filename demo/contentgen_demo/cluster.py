"""The cluster that `make cluster` left in `.cluster/`, as the demo uses it: our release and one namespace."""

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
"""The account in the demo's namespace that somebody signs in to the gateway with."""
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
    """kubectl and port-forwards; a forward is opened once and lasts as long as the stack it is given."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._ports: dict[str, int] = {}

    def check(self) -> None:
        """Raises: DemoError, where there is no cluster, or none that answers."""
        for name in ("kubeconfig", "images.json", "bin/kubectl", "bin/helm"):
            if not (self._root / ".cluster" / name).exists():
                raise DemoError(f".cluster/{name} is missing: run `make cluster` first")
        try:
            release.kubectl(self._root, "get", "--raw=/readyz", "--request-timeout=10s")
        except release.CommandFailed as error:
            raise DemoError(f"the cluster does not answer, `make cluster` starts it again. {error}") from None

    def install(self) -> None:
        """The chart with the sandbox, the demo's namespace, and somebody who may work in it. Raises: CommandFailed."""
        release.install(self._root)
        self.admit()
        # kubectl keeps for hours which kinds there are, and asks anew for a kind that it lacks but not for a category:
        # `get contentgen` would fail, the user's too, where kubectl was used before the chart was installed.
        release.kubectl(self._root, "api-resources", "--output=name")

    def admit(self) -> None:
        """The demo's namespace, and somebody who may work in it. Raises: CommandFailed."""
        listed = {"apiVersion": "v1", "kind": "List", "items": _MANIFESTS}
        release.kubectl(self._root, "apply", "--filename=-", stdin=json.dumps(listed))

    def kubectl(self, *args: str) -> str:
        """kubectl in the demo's namespace. Raises: CommandFailed."""
        return release.kubectl(self._root, f"--namespace={NAMESPACE}", *args)

    def all_resources(self) -> list[dict[str, Any]]:
        """Resources of our kinds in all namespaces. Raises: CommandFailed."""
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "contentgen", "--all-namespaces", "--output=json")
        )["items"]
        return found

    def raw(self, path: str) -> Any:
        """The JSON that the API server answers. Raises: CommandFailed."""
        return json.loads(release.kubectl(self._root, "get", "--raw", path))

    def port(self, name: str) -> int:
        """A local port that leads to the sandbox's port of this name. Raises: CommandFailed."""
        if name not in self._ports:
            forward = release.port_forward(self._root, release.NAMESPACE, SANDBOX, name)
            self._ports[name] = self._stack.enter_context(forward)
        return self._ports[name]

    def secret(self, name: str, *keys: str) -> tuple[str, ...]:
        """Values of one of our release's Secrets. Raises: CommandFailed."""
        template = '{{"\\n"}}'.join(f'{{{{index .data "{key}" | base64decode}}}}' for key in keys)
        said = release.kubectl(
            self._root, f"--namespace={release.NAMESPACE}", "get", "secret", name, f"--output=go-template={template}"
        )
        return tuple(said.split("\n"))

    def diagnose(self, resource: dict[str, Any]) -> list[str]:
        """What kubectl knows about a resource that did not get there: its events and its pods' last words."""
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
