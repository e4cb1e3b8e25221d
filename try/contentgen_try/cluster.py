"""Kubernetes client of the command and of the Job runner: plain JSON objects over HTTPS, from the kubeconfig."""

import base64
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

Body = dict[str, Any]
_TIMEOUT = httpx.Timeout(30, connect=5)
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """An error response of the API server, with its Status object."""

    def __init__(self, code: int, status: Body) -> None:
        super().__init__(str(status.get("message") or f"HTTP {code}"))
        self.code = code
        self.status = status

    @property
    def reason(self) -> str:
        """Reason of the Status, such as `Invalid`; empty if there is none."""
        return str(self.status.get("reason") or "")


class Cluster:
    """Client with one connection pool; safe to use from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server: str = cluster["server"]
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self._client = httpx.Client(
            base_url=self.server,
            verify=trust,
            trust_env=False,
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {user['token']}"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, kind: str = ""
    ) -> Body:
        """Object of the response. `kind`: content type of the body. Raises Refused, or httpx.TransportError."""
        headers = {"Content-Type": kind or "application/json"} if body is not None else {}
        response = self._client.request(method, path, json=body, params=dict(query or {}), headers=headers)
        try:
            answer = response.json()
        except ValueError:
            answer = {"message": response.text[:300]}
        if response.is_error:
            raise Refused(response.status_code, answer)
        return dict(answer)

    def find(self, path: str) -> Body | None:
        """Object at a path; None if it does not exist. Raises Refused."""
        try:
            return self.call("GET", path)
        except Refused as error:
            if error.code == httpx.codes.NOT_FOUND:
                return None
            raise

    def items(self, path: str) -> Sequence[Body]:
        """Objects of a collection. Raises Refused."""
        return list(self.call("GET", path).get("items") or ())

    def create(self, path: str, body: Body) -> Body | None:
        """Created object; None if it exists. Raises Refused."""
        try:
            return self.call("POST", path, body)
        except Refused as error:
            if error.code == httpx.codes.CONFLICT and error.reason == "AlreadyExists":
                return None
            raise

    def patch_status(self, path: str, status: Body) -> Body | None:
        """Object with the changed status; None if it does not exist. Raises Refused."""
        try:
            return self.call("PATCH", f"{path}/status", {"status": status}, kind=MERGE)
        except Refused as error:
            if error.code == httpx.codes.NOT_FOUND:
                return None
            raise

    def delete(self, path: str, uid: str) -> None:
        """Delete an object with this uid, at once; nothing happens if it is gone. Raises Refused."""
        options = {"preconditions": {"uid": uid}, "gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            self.call("DELETE", path, options)
        except Refused as error:
            if error.code not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
                raise

    def token(self, namespace: str, account: str, audience: str, seconds: int, pod: Body | None = None) -> str:
        """Token of a service account for an audience, bound to a pod if given. Raises Refused."""
        spec: Body = {"audiences": [audience], "expirationSeconds": seconds}
        if pod is not None:
            meta = pod["metadata"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str(self.call("POST", path, request)["status"]["token"])
