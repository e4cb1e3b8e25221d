"""The gateway as its callers reach it: through its Service, with tokens that Kubernetes gave, by the seeds' lines."""

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
    """Somebody who may do everything with the jobs of one namespace, and name one user."""

    namespace: str
    user: str
    token: str
    api: httpx.Client

    def get(self, path: str, **query: Any) -> Body:
        """What a GET answers. Raises where that is no 2xx."""
        answer = self.api.get(path, params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        body: Body = answer.json()
        return body

    def ask(self, path: str, body: Body | None = None, code: int = 202, **headers: str) -> Body:
        """What a POST answers, which has this code."""
        answer = self.api.post(path, json=body, headers=headers)
        assert answer.status_code == code, f"{path}: {answer.status_code} {answer.text}"
        given: Body = answer.json()
        return given

    def finished(self, job_id: str, seconds: float = 240) -> Body:
        """A job once its run is over."""
        deadline = time.monotonic() + seconds
        while (job := self.get(f"/api/jobs/{job_id}"))["status"] not in ("completed", "failed", "cancelled"):
            assert time.monotonic() < deadline, f"after {seconds:.0f} s: {job}"
            time.sleep(0.5)
        return job


@dataclass(frozen=True)
class MadeJobs:
    """One job of each kind, made through the API in the seeds' bodies, and completed."""

    lora: str
    pictures: str
    transcript: str
    stream: str
    """What `curl -N` of the seeds printed while the LoRA was trained."""

    @property
    def all(self) -> tuple[str, ...]:
        return self.lora, self.pictures, self.transcript


@dataclass(frozen=True)
class Gateway:
    """Where it is reached from here, and its files' addresses."""

    root: Path
    url: str
    s3_port: int

    def curl(self, line: str, tenant: GatewayTenant, folder: Path) -> str:
        """What one of the seeds' lines prints, with nothing changed but its host, and the token beside it."""
        (folder / ".curlrc").write_text(f'header = "Authorization: Bearer {tenant.token}"\nfail-with-body\nsilent\n')
        told = line.replace("http://localhost:5000", self.url)
        environment = os.environ | {"CURL_HOME": str(folder), "NO_PROXY": "*"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", told],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{told}: {done.stdout}{done.stderr}"
        return done.stdout

    def fetch(self, address: str) -> httpx.Response:
        """What a signed URL gives. It names the sandbox as the cluster does; from here that is a forwarded port."""
        parts = urlsplit(address)
        local = parts._replace(netloc=f"127.0.0.1:{self.s3_port}").geturl()
        return httpx.get(local, headers={"Host": parts.netloc}, trust_env=False, timeout=60)

    def answers(self) -> bool:
        """Whether a request comes through; a forwarded port is lost with the pod that it leads to."""
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False, timeout=10).is_success
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """What it has said."""
        return release.kubectl(
            self.root, "--namespace", release.NAMESPACE, "logs", "deployment/contentgen-gateway", "--tail=-1"
        )


@contextmanager
def open_gateway(root: Path) -> Iterator[Gateway]:
    """Forward its port, and that of the files."""
    with ExitStack() as stack:
        port = stack.enter_context(release.port_forward(root, release.NAMESPACE, "svc/contentgen-gateway", "http"))
        s3 = stack.enter_context(release.port_forward(root, release.NAMESPACE, "svc/contentgen-sandbox", "s3"))
        yield Gateway(root, f"http://127.0.0.1:{port}", s3)


@contextmanager
def tenant(gateway: Gateway, namespace: str, user: str) -> Iterator[GatewayTenant]:
    """An account in a namespace that is made if need be, its rights, and a token of it."""
    account = {"kind": "ServiceAccount", "name": "person", "namespace": namespace}
    meta = {"name": "person", "namespace": namespace}
    jobs = {"apiGroups": ["contentgen.dev"], "resources": [kind.plural for kind in Kind], "verbs": _VERBS}
    named = {"apiGroups": ["contentgen.dev"], "resources": ["userids"], "resourceNames": [user], "verbs": ["use"]}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": "person"}
    things: list[Body] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta, "rules": [jobs, named]},
        {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [account]},
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": things}
    release.kubectl(gateway.root, "apply", "--server-side", "--filename", "-", stdin=json.dumps(listed))
    token = new_token(gateway.root, namespace)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=40, trust_env=False) as api:
        yield GatewayTenant(namespace, user, token, api)


def new_token(root: Path, namespace: str) -> str:
    """Another token of the namespace's tenant. Who signs out with one can use the others."""
    how = ("create", "token", "person", "--audience", GATEWAY_AUDIENCE)
    return release.kubectl(root, "--namespace", namespace, *how).strip()


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes to hold."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
