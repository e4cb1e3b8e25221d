"""Client of the gateway through its Service, with tokens of Kubernetes and the documented lines of the legacy API."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from contentgen_cluster import release
from contentgen_contract.names import GATEWAY_AUDIENCE, Kind

Body = dict[str, Any]
_VERBS = ["get", "list", "watch", "create", "patch", "delete", "spend"]
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class GatewayTenant:
    """Caller with all rights to the jobs of one namespace, who may name one user."""

    namespace: str
    user: str
    token: str
    api: httpx.Client

    def get(self, path: str, **query: Any) -> Body:
        """JSON response of a GET. Raises unless the status is 2xx."""
        answer = self.api.get(path, params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        body: Body = answer.json()
        return body

    def ask(self, path: str, body: Body | None = None, code: int = 202, **headers: str) -> Body:
        """JSON response of a POST with this status code."""
        answer = self.api.post(path, json=body, headers=headers)
        assert answer.status_code == code, f"{path}: {answer.status_code} {answer.text}"
        given: Body = answer.json()
        return given

    def finished(self, job_id: str, seconds: float = 240) -> Body:
        """Wait for the end of a job's run; returns the job."""
        deadline = time.monotonic() + seconds
        while (job := self.get(f"/api/jobs/{job_id}"))["status"] not in ("completed", "failed", "cancelled"):
            assert time.monotonic() < deadline, f"after {seconds:.0f} s: {job}"
            time.sleep(0.5)
        return job


@dataclass(frozen=True)
class MadeJobs:
    """Completed job of each kind, created through the API with bodies of the legacy API."""

    lora: str
    pictures: str
    transcript: str
    stream: str
    """Output of the legacy documentation's `curl -N` during the training of the LoRA."""

    @property
    def all(self) -> tuple[str, ...]:
        return self.lora, self.pictures, self.transcript


@dataclass(frozen=True)
class Gateway:
    """Gateway reached through port-forwards."""

    root: Path
    url: str
    s3_port: int

    def curl(self, line: str, tenant: GatewayTenant, folder: Path) -> str:
        """Output of a documented line, with another host and an added token."""
        (folder / ".curlrc").write_text(f'header = "Authorization: Bearer {tenant.token}"\nfail-with-body\nsilent\n')
        command = line.replace("http://localhost:5000", self.url)
        environment = os.environ | {"CURL_HOME": str(folder), "NO_PROXY": "*"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def fetch(self, address: str) -> httpx.Response:
        """Content of a presigned URL. Its host is the sandbox's Service, which is a forwarded port here."""
        parts = urlsplit(address)
        local = parts._replace(netloc=f"127.0.0.1:{self.s3_port}").geturl()
        return httpx.get(local, headers={"Host": parts.netloc}, trust_env=False, timeout=60)

    def answers(self) -> bool:
        """Whether a request succeeds; a port-forward ends with its pod."""
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False, timeout=10).is_success
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """Log of the gateway."""
        return release.kubectl(
            self.root, "--namespace", release.NAMESPACE, "logs", "deployment/contentgen-gateway", "--tail=-1"
        )


@contextmanager
def open_gateway(root: Path) -> Iterator[Gateway]:
    """Forward the ports of the gateway and of the files."""
    with ExitStack() as stack:
        port = stack.enter_context(release.port_forward(root, release.NAMESPACE, "svc/contentgen-gateway", "http"))
        s3 = stack.enter_context(release.port_forward(root, release.NAMESPACE, "svc/contentgen-sandbox", "s3"))
        yield Gateway(root, f"http://127.0.0.1:{port}", s3)


@contextmanager
def tenant(gateway: Gateway, namespace: str, user: str) -> Iterator[GatewayTenant]:
    """Create an account with rights and a token, and its namespace if necessary."""
    account = {"kind": "ServiceAccount", "name": "person", "namespace": namespace}
    meta = {"name": "person", "namespace": namespace}
    jobs = {"apiGroups": ["contentgen.dev"], "resources": [kind.plural for kind in Kind], "verbs": _VERBS}
    named = {"apiGroups": ["contentgen.dev"], "resources": ["userids"], "resourceNames": [user], "verbs": ["use"]}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": "person"}
    things: list[Body] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta, "rules": [jobs, named]},
        {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [account]},
    ]
    # Not in the list: applied without its labels, an existing namespace would lose the label of its lane.
    release.make_namespace(gateway.root, namespace)
    listed = {"apiVersion": "v1", "kind": "List", "items": things}
    release.kubectl(gateway.root, "apply", "--server-side", "--filename", "-", stdin=json.dumps(listed))
    token = new_token(gateway.root, namespace)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=40, trust_env=False) as api:
        yield GatewayTenant(namespace, user, token, api)


def new_token(root: Path, namespace: str) -> str:
    """Another token of the tenant. Signing out with one does not affect the others."""
    how = ("create", "token", "person", "--audience", GATEWAY_AUDIENCE)
    return release.kubectl(root, "--namespace", namespace, *how).strip()


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
