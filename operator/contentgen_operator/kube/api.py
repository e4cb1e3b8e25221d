"""Requests of the operator to the Kubernetes API, on plain JSON objects."""

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import (
    CONTENT_BUDGETS,
    EVENTS,
    JOBS,
    PODS,
    RESOURCE_QUOTAS,
    SECRETS,
    UNFINISHED,
    ApiResource,
    InvalidName,
    Query,
    api_path,
    checked_name,
    equals,
    resource_of,
)
from contentgen_contract.names import GROUP, VERSION, Kind
from contentgen_contract.resources.operator_class import CLASS_LABEL
from contentgen_contract.worker import log
from contentgen_operator import metrics
from contentgen_operator.kube import pods
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_runtime.kube import Body, Conflict, KubeApi, explain, or_conflict

_COMPONENT = "contentgen"
_log = logging.getLogger(__name__)
_A_PAGE, _MOST = 10, 50  # pods, events and quotas of a tenant, up to a megabyte each
_RESOURCES_A_PAGE = 50  # each may have 256 KiB of annotations


class Kube(KubeApi):
    """Operator's client of the Kubernetes API; counts its requests."""

    def __init__(self) -> None:
        super().__init__(_counted)

    async def __aenter__(self) -> "Kube":
        await super().__aenter__()
        return self

    # `asked_by` is logged if the response is a different object.

    async def get_resource(
        self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, asked_by: str = _COMPONENT
    ) -> Body | None:
        """Get one of our resources, with this uid if given; None if it does not exist."""
        return await self.get(resource_of(kind), namespace, name, uid=uid, asked_by=asked_by)

    async def unfinished(self, kind: Kind, namespace: str = "") -> AsyncIterator[Body]:
        """Resources that are neither Completed nor Failed, of one namespace or (empty) of all."""
        async for body in self.every(kind, namespace, {"fieldSelector": UNFINISHED}):
            yield body

    async def every(self, kind: Kind, namespace: str = "", asked: Query | None = None) -> AsyncIterator[Body]:
        """Resources of one namespace or (empty) of all."""
        query: Query = {**(asked or {}), "limit": _RESOURCES_A_PAGE}
        async with aclosing(self.pages(resource_of(kind), namespace or None, query)) as pages:
            async for page in pages:
                for body in page.items:
                    yield body

    async def content_budgets(self) -> list[Body]:
        """All ContentBudgets of the cluster."""
        async with aclosing(self.pages(CONTENT_BUDGETS, None)) as pages:
            return [body async for page in pages for body in page.items]

    async def put_budget_status(self, name: str, body: Body) -> Body:
        """Replace the status of a ContentBudget. Raises Conflict if it was changed since it was read."""
        return await or_conflict(self.request("PUT", CONTENT_BUDGETS, name=name, subresource="status", body=body))

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        """Replace the status. Raises Conflict if `metadata.resourceVersion` is not the newest."""
        call = self.request("PUT", resource_of(kind), namespace=namespace, name=name, subresource="status", body=body)
        return await or_conflict(call)

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        """Set the finalizers. Raises Conflict if `version` is not the newest resourceVersion."""
        body = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        call = self.request("PATCH", resource_of(kind), namespace=namespace, name=name, body=body)
        return await or_conflict(call)

    async def put_label(self, ref: ResourceRef, version: str, name: str, value: str | None) -> Body:
        """Set one label, or remove it (None); all others stay. Raises Conflict if `version` is not the newest."""
        body = {"metadata": {"resourceVersion": version, "labels": {name: value}}}
        call = self.request("PATCH", resource_of(ref.kind), namespace=ref.namespace, name=ref.name, body=body)
        return await or_conflict(call)

    async def delete_resource(self, ref: ResourceRef, version: str, *, dry_run: bool = False) -> None:
        """Delete one of our resources, if `version` is its newest resourceVersion; its Jobs follow. Raises Conflict if
        it was changed or is gone, and ApiException if it may not be deleted; a dry run asks only that.
        """
        options: Body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": ref.uid, "resourceVersion": version},
        }
        if dry_run:  # in the body: the API server ignores the query of a DELETE that has one
            options["dryRun"] = ["All"]
        await or_conflict(
            self.request("DELETE", resource_of(ref.kind), namespace=ref.namespace, name=ref.name, body=options)
        )

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete a Job and its pods, unless it is missing or has another uid."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await or_conflict(self.request("DELETE", JOBS, namespace=namespace, name=name, body=options))
        except (Conflict, InvalidName) as error:
            _log.info("Job %s (uid %s) is not deleted: %s", ascii(name), uid, error)

    async def job_log(self, namespace: str, job: str, uid: str, characters: int) -> str:
        """End of the newest pod's log of a Job; empty if there is no pod or no log."""
        try:
            mine = pods.of_the_job(await self.job_pods(namespace, checked_name(job)), uid)
            names = [pod["metadata"]["name"] for pod in mine]
            if not names:
                return ""
            how: dict[str, str | int] = {"container": pods.WORKER_CONTAINER, "tailLines": 100, "limitBytes": 65536}
            path = api_path(PODS, namespace=namespace, name=names[-1], subresource="log", query=how)
        except InvalidName as error:
            _log.warning("no log is read: %s", error)
            return ""
        try:
            output = await self.read("GET", path)
        except ApiException as error:  # not started, or its node is gone; the run continues without the log
            _log.info("the log of pod %s cannot be read: %s", names[-1], explain(error))
            return ""
        return log.tail([log.parse_line(line) for line in output.decode(errors="replace").splitlines()])[-characters:]

    async def get_job(
        self, namespace: str, name: str, *, uid: str | None = None, asked_by: str = _COMPONENT
    ) -> Body | None:
        """Get a Job, with this uid if given; None if it does not exist."""
        return await self.get(JOBS, namespace, name, uid=uid, asked_by=asked_by)

    async def create_job(self, namespace: str, manifest: Body) -> Body | None:
        """Create a Job; None if the name is taken. Raises ApiException if the API server refuses it."""
        try:
            return await self.request("POST", JOBS, namespace=namespace, body=manifest)
        except ApiException as error:
            if error.status != 409:
                raise
            return None

    async def get_pod(
        self, namespace: str, name: str, *, uid: str | None = None, asked_by: str = _COMPONENT
    ) -> Body | None:
        """Get a pod, with this uid if given; None if it does not exist."""
        return await self.get(PODS, namespace, name, uid=uid, asked_by=asked_by)

    async def check_job(self, namespace: str, manifest: Body) -> None:
        """Server-side dry run of the creation of a Job. Raises ApiException if it is refused."""
        await self.request("POST", JOBS, namespace=namespace, query={"dryRun": "All"}, body=manifest)

    async def job_pods(self, namespace: str, job: str) -> list[Body]:
        """Pods with a Job's label, about 50 at most: any user of the namespace may set the label."""
        return await self._first_objects(
            PODS, namespace, {"labelSelector": equals("batch.kubernetes.io/job-name", job)}
        )

    async def jobs_of_class(self, namespace: str, operator_class: str) -> list[Body]:
        """Jobs with an operator class's label, about 50 at most: any user of the namespace may set the label."""
        return await self._first_objects(JOBS, namespace, {"labelSelector": equals(CLASS_LABEL, operator_class)})

    async def quotas(self, namespace: str) -> list[Body]:
        """ResourceQuotas of a namespace, about 50 at most."""
        return await self._first_objects(RESOURCE_QUOTAS, namespace, {})

    async def job_events(self, namespace: str, uid: str) -> list[Body]:
        """FailedCreate events of a Job: pods that the Job controller could not create."""
        selector = f"{equals('involvedObject.uid', uid)},{equals('reason', 'FailedCreate')}"
        return await self._first_objects(EVENTS, namespace, {"fieldSelector": selector})

    async def _first_objects(self, resource: ApiResource, namespace: str, query: Query) -> list[Body]:
        """First objects that match, about 50: a tenant may create any number."""
        found: list[Body] = []
        async with aclosing(self.pages(resource, namespace, {**query, "limit": _A_PAGE})) as pages:
            async for page in pages:
                found += page.items
                if len(found) >= _MOST:
                    _log.warning("%s: more than %d match %s; the others are not read", namespace, _MOST, query)
                    break
        return found

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """resourceVersion and data of our own Secret."""
        secret = await self.request("GET", SECRETS, namespace=namespace, name=name)
        data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
        return secret["metadata"]["resourceVersion"], data

    async def patch_secret_data(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> None:
        """Write the data of our own Secret. Raises Conflict if another operator was faster."""
        body = {
            "metadata": {"resourceVersion": version},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        await or_conflict(self.request("PATCH", SECRETS, namespace=namespace, name=name, body=body))

    async def post_event(self, ref: ResourceRef, notice: Event, now: datetime) -> None:
        """Create an Event on a resource."""
        involved = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": ref.kind.value,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": ref.uid,
        }
        await self._post_event(involved, notice, now)

    async def post_pod_event(self, namespace: str, name: str, uid: str, notice: Event, now: datetime) -> None:
        """Create an Event on a pod."""
        involved = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid}
        await self._post_event(involved, notice, now)

    async def _post_event(self, involved: dict[str, str], notice: Event, now: datetime) -> None:
        """Create an Event of the core group. One of events.k8s.io has no lastTimestamp, by which `kubectl describe`
        sorts.
        """
        time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {"generateName": f"{involved['name']}-", "namespace": involved["namespace"]},
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message.encode()[:1000].decode(errors="ignore"),  # the limit is in bytes
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": _COMPONENT},
            "involvedObject": involved,
        }
        try:
            await self.request("POST", EVENTS, namespace=involved["namespace"], body=event)
        except InvalidName as error:
            _log.warning("no Event is posted: %s", error)


def _counted(method: str, path: str, code: int) -> None:
    metrics.api_requests.labels(method, _resource_of(path), str(code)).inc()


def _resource_of(path: str) -> str:
    """Plural, with the subresource, of a request path, as a metric label: never a name."""
    parts = path.partition("?")[0].split("/")[3:]
    named = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    return "/".join([named[0], *named[2:]]) if named else "namespaces"
