"""Bearer tokens: the administrator's, and those of service accounts. Tokens are opaque and end with the process."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import PODS, SERVICE_ACCOUNTS
from contentgen_try.api_server.storage.store import Store

Body = dict[str, Any]
AUDIENCE = "https://kubernetes.default.svc"
"""Audience of tokens for this API server."""
MASTERS = "system:masters"
_POD_NAME, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
_SHORTEST, _LONGEST, _USUAL = 600, 2**32, 3600  # seconds
_BYTES = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user or service account."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def user_info(self) -> Body:
        """As in the status of a TokenReview."""
        info: Body = {"username": self.name, "groups": list(self.groups)}
        info |= {"uid": self.uid} if self.uid else {}
        return info | ({"extra": {key: list(each) for key, each in self.extra.items()}} if self.extra else {})


ADMIN = Caller("kubernetes-admin", (MASTERS, "system:authenticated"))


@dataclass(frozen=True, slots=True)
class _Issued:
    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    expires: float  # Unix time
    pod: str = ""
    pod_uid: str = ""


class Tokens:
    """Issued tokens. Only digests are kept."""

    def __init__(self, store: Store) -> None:
        self.admin = secrets.token_urlsafe(_BYTES)
        self._store = store
        self._issued: dict[str, _Issued] = {}

    def caller(self, token: str, audiences: Sequence[str] = (AUDIENCE,)) -> tuple[Caller, tuple[str, ...]] | None:
        """Caller of a token, and those of the audiences that it has; None if it is invalid or has none of them."""
        if hmac.compare_digest(token.encode(errors="replace"), self.admin.encode()):
            return (ADMIN, (AUDIENCE,)) if AUDIENCE in audiences else None
        issued = self._issued.get(_digest(token))
        if issued is None or issued.expires <= time.time() or not self._is_bound(issued):
            return None
        common = tuple(audience for audience in issued.audiences if audience in audiences)
        return (_caller(issued), common) if common else None

    def _is_bound(self, issued: _Issued) -> bool:
        """True while the service account, and the pod if the token is bound to one, exist."""
        account = self._store.find(SERVICE_ACCOUNTS, issued.namespace, issued.account)
        if account is None or account["metadata"]["uid"] != issued.account_uid:
            return False
        if not issued.pod:
            return True
        pod = self._store.find(PODS, issued.namespace, issued.pod)
        return pod is not None and pod["metadata"]["uid"] == issued.pod_uid

    def request(self, namespace: str, name: str, body: Body) -> Body:
        """Issue a token: the body of the response to a TokenRequest. Raises Refusal."""
        account = self._store.get(SERVICE_ACCOUNTS, namespace, name)
        spec = body.get("spec") or {}
        audiences = spec.get("audiences") or [AUDIENCE]
        seconds = spec.get("expirationSeconds", _USUAL)
        if not isinstance(audiences, list) or not all(isinstance(audience, str) and audience for audience in audiences):
            raise Refusal(422, "spec.audiences: Invalid value: must be a list of texts")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not _SHORTEST <= seconds <= _LONGEST:
            raise Refusal(422, f"spec.expirationSeconds: Invalid value: must be from {_SHORTEST} to {_LONGEST}")
        pod, pod_uid = self._bound_pod(namespace, name, spec.get("boundObjectRef"))
        token, expires = secrets.token_urlsafe(_BYTES), time.time() + seconds
        self._forget_expired()
        self._issued[_digest(token)] = _Issued(
            namespace, name, account["metadata"]["uid"], tuple(audiences), expires, pod, pod_uid
        )
        at = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": at},
        }

    def _bound_pod(self, namespace: str, account: str, reference: Any) -> tuple[str, str]:
        """Name and uid of the pod that a token is to be bound to; empty without one. Raises Refusal."""
        if reference is None:
            return "", ""
        if not isinstance(reference, dict) or reference.get("kind") != "Pod":
            raise Refusal(422, "spec.boundObjectRef.kind: Invalid value: only Pod is supported")
        pod = self._store.get(PODS, namespace, str(reference.get("name")))
        uid: str = pod["metadata"]["uid"]
        if reference.get("uid") not in (None, "", uid):
            raise Refusal(409, "the UID in the bound object reference does not match the UID in record")
        if pod["spec"].get("serviceAccountName", "default") != account:
            raise Refusal(422, f"spec.boundObjectRef: Forbidden: cannot bind token for serviceaccount {account!r} to "
                               "pod running with different serviceaccount name")  # fmt: skip
        return str(pod["metadata"]["name"]), uid

    def _forget_expired(self) -> None:
        now = time.time()
        self._issued = {key: each for key, each in self._issued.items() if each.expires > now and self._is_bound(each)}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _caller(issued: _Issued) -> Caller:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{issued.namespace}", "system:authenticated")
    extra = {_POD_NAME: (issued.pod,), _POD_UID: (issued.pod_uid,)} if issued.pod else {}
    return Caller(f"system:serviceaccount:{issued.namespace}:{issued.account}", groups, issued.account_uid, extra)
