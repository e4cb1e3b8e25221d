"""Plugin that reaches the gateway through the API server: a user with the documented rights, and one without."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_documents import pages
from contentgen_e2e.gateway import eventually
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld

Body = dict[str, Any]
NAME = "plugged"
USER = "maker"
RBAC = "rbac.authorization.k8s.io"
PLACE = f"{release.NAMESPACE}/contentgen-gateway"
OWN_RULES: list[Body] = [
    {"apiGroups": ["contentgen.dev"], "resources": [kind.plural for kind in Kind], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
]


def documented_rules() -> list[Body]:
    """Rules of the Role in docs/kubectl-plugin.md."""
    found = [manifest.document for manifest in pages.manifests() if manifest.file == "docs/kubectl-plugin.md"]
    (role,) = [each for each in found if each["kind"] == "Role"]
    rules: list[Body] = role["rules"]
    return rules


def role(namespace: str, rules: list[Body], *others: Body) -> list[Body]:
    """Role of the user, and of other subjects."""
    meta = {"name": f"plugin-{USER}", "namespace": namespace}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": meta["name"]}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": USER}, *others]
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": reference}
        | {"subjects": subjects},
    ]


def apply(manifests: list[Body]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": manifests}
    release.kubectl(ROOT, "apply", "--server-side", "--filename", "-", stdin=json.dumps(listed))


@pytest.fixture
def picture(world: ClusterWorld) -> Iterator[str]:
    """Completed resource that the user may read; rights in the release's namespace end with the test."""
    owner_of_token = {"kind": "ServiceAccount", "name": "default", "namespace": world.namespace}
    apply(role(world.namespace, OWN_RULES, owner_of_token))
    image = {"size": {"width": 256, "height": 256}}
    world.apply(Kind.IMAGE_GENERATION, NAME, {"model": "flux-dev", "prompt": NAME, "image": image})
    world.wait_for_end(Kind.IMAGE_GENERATION, NAME)
    yield NAME
    for kind in ("rolebinding", "role"):
        where = ("--namespace", release.NAMESPACE, "--ignore-not-found")
        release.kubectl(ROOT, "delete", kind, f"plugin-{USER}", *where)


def test_a_user_with_the_documented_rights_asks_the_gateway(world: ClusterWorld, picture: str) -> None:
    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return world.run_plugin(*words, "--as", USER, "--gateway", PLACE)

    refused = ask("orphans")
    assert refused.returncode == 1, refused.stdout
    assert "permission denied" in refused.stderr
    assert "give the gateway's URL with --gateway" in refused.stderr
    apply(role(release.NAMESPACE, documented_rules()))
    assert eventually(lambda: ask("orphans", "-o", "json").returncode == 0), ask("orphans").stderr
    assert "orphans" in json.loads(ask("orphans", "-o", "json").stdout)
    told = ask("notifications", f"imagegen/{picture}")
    assert (told.returncode, f"imagegen/{picture} has no notifications" in told.stderr) == (0, True), told.stderr
    audit = ask("audit", "--last")
    assert (audit.returncode, "needs the verb audit" in audit.stderr) == (1, True), audit.stderr
