"""The Kubernetes API, as the few calls that the operator makes, on plain JSON objects."""

import base64
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from urllib.parse import quote

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract import story
from contentgen_contract.names import GROUP, VERSION, Kind, Phase
from contentgen_operator import metrics
from contentgen_operator.observed import ResourceRef
from contentgen_operator.plan import Notice
from contentgen_runtime.kube import Body, Conflict, KubeApi, explain, or_conflict, or_none

_COMPONENT = "contentgen"
_log = logging.getLogger(__name__)
_PAGE = 500
_UNFINISHED = ",".join(f"status.phase!={phase.value}" for phase in Phase if phase.terminal)


class Kube(KubeApi):
    """What the operator asks of it."""

    def __init__(self) -> None:
        super().__init__(_counted)

    async def __aenter__(self) -> "Kube":
        await super().__aenter__()
        return self

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource of ours, or None where it is gone."""
        return await or_none(self.call("GET", _ours(kind, namespace, name)))

    async def unfinished(self, kind: Kind, namespace: str = "") -> AsyncIterator[Body]:
        """The resources that are neither Completed nor Failed, of one namespace or of all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        asked = f"/apis/{GROUP}/{VERSION}{where}/{kind.plural}?limit={_PAGE}&fieldSelector={quote(_UNFINISHED)}"
        page = ""
        while True:
            listed = await self.call("GET", asked + (f"&continue={quote(page)}" if page else ""))
            for body in listed["items"]:
                yield body
            page = listed["metadata"].get("continue") or ""
            if not page:
                return

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        """Replace the status; raises Conflict where `metadata.resourceVersion` is not the newest any more."""
        return await or_conflict(self.call("PUT", f"{_ours(kind, namespace, name)}/status", body))

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        """Set the finalizers; raises Conflict where `version` is not the newest resourceVersion any more."""
        body = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        return await or_conflict(self.call("PATCH", _ours(kind, namespace, name), body))

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job and its pods; one that is gone is fine."""
        await or_none(self.call("DELETE", f"{_jobs(namespace)}/{name}?propagationPolicy=Background"))

    async def job_log(self, namespace: str, job: str, characters: int) -> str:
        """The last that the newest pod of a Job said; empty where there is none any more."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        listed = await self.call("GET", f"{pods}?labelSelector={quote(f'batch.kubernetes.io/job-name={job}')}")
        names = [pod["metadata"]["name"] for pod in listed["items"]]
        if not names:
            return ""
        try:
            said = await self.read("GET", f"{pods}/{names[-1]}/log?tailLines=100&limitBytes=65536")
        except ApiException as error:  # it never started, or its node is gone; a run does not stop for its log
            _log.info("the log of pod %s cannot be read: %s", names[-1], explain(error))
            return ""
        return story.tail([story.told(line) for line in said.decode(errors="replace").splitlines()])[-characters:]

    async def get_job(self, namespace: str, name: str) -> Body | None:
        """A Job, or None."""
        return await or_none(self.call("GET", f"{_jobs(namespace)}/{name}"))

    async def create_job(self, namespace: str, manifest: Body) -> Body:
        """Create a Job; one that is already there is returned as it is, if it has the same owner."""
        try:
            return await self.call("POST", _jobs(namespace), manifest)
        except ApiException as error:
            if error.status != 409:
                raise
        name = manifest["metadata"]["name"]
        found = await self.get_job(namespace, name)
        owner = manifest["metadata"]["ownerReferences"][0]["uid"]
        if found is None or not owned_by(found, owner):
            raise Conflict(f"Job {name} exists and belongs to something else")
        return found

    async def check_job(self, namespace: str, manifest: Body) -> None:
        """Ask whether a Job would be admitted, by a server-side dry run. Raises ApiException where it would not."""
        await self.call("POST", f"{_jobs(namespace)}?dryRun=All", manifest)

    async def job_pods(self, namespace: str, job: str) -> list[Body]:
        """The pods with a Job's label, which anybody in the namespace may set."""
        selector = quote(f"batch.kubernetes.io/job-name={job}")
        listed = await self.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        return list(listed["items"])

    async def quotas(self, namespace: str) -> list[Body]:
        """The ResourceQuotas of a namespace."""
        return list((await self.call("GET", f"/api/v1/namespaces/{namespace}/resourcequotas"))["items"])

    async def job_events(self, namespace: str, uid: str) -> list[Body]:
        """What the Job controller says about pods of a Job that it could not create."""
        selector = quote(f"involvedObject.uid={uid},reason=FailedCreate")
        listed = await self.call("GET", f"/api/v1/namespaces/{namespace}/events?fieldSelector={selector}")
        return list(listed["items"])

    async def get_pod(self, namespace: str, name: str) -> Body | None:
        """A pod, or None."""
        return await or_none(self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}"))

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """The resourceVersion and the data of the one Secret that is our own."""
        secret = await self.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
        return secret["metadata"]["resourceVersion"], data

    async def patch_secret_data(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> None:
        """Fill that Secret; raises Conflict where another operator was quicker."""
        body = {
            "metadata": {"resourceVersion": version},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        await or_conflict(self.call("PATCH", f"/api/v1/namespaces/{namespace}/secrets/{name}", body))

    async def post_event(self, ref: ResourceRef, notice: Notice, now: datetime) -> None:
        """An Event on a resource.

        The core group's, not events.k8s.io's: `kubectl describe` sorts by lastTimestamp, which that one may not set.
        """
        time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {"generateName": f"{ref.name}-", "namespace": ref.namespace},
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message.encode()[:1000].decode(errors="ignore"),  # the limit is in bytes
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": _COMPONENT},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": ref.kind.value,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": ref.uid,
            },
        }
        await self.call("POST", f"/api/v1/namespaces/{ref.namespace}/events", event)


def _counted(method: str, path: str, code: int) -> None:
    metrics.api_requests.labels(method, _resource_of(path), str(code)).inc()


def _resource_of(path: str) -> str:
    """The plural that a path speaks of, for a metric: never a name."""
    parts = path.partition("?")[0].split("/")[3:]
    named = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    return "/".join([named[0], *named[2:]])


def owned_by(body: Body, uid: str) -> bool:
    """Whether an object's controller has this uid."""
    owners = body["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == uid and owner.get("controller") for owner in owners)


def _ours(kind: Kind, namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind.plural}/{name}"


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"
