"""Helm hook before an uninstall: removes the operator's finalizers, without which resources and their namespaces could
not be deleted afterwards.

The operator is stopped first, so that it adds none back; then every resource that it served is released, and then its
operator class. Resources of other classes, and those of a class that another installation owns, are not changed.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException

from contentgen_contract.api_paths import DEPLOYMENTS, NAMESPACES, OPERATOR_CLASSES, PODS, api_path, resource_of
from contentgen_contract.names import FINALIZER, Kind
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, ClassOwner, owner_of
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_runtime import logs
from contentgen_runtime.kube_sync import JSON_PATCH, MERGE_PATCH, Body, call
from kubernetes import client, config

_log = logging.getLogger("uninstall")
_PAGE = 500
_GRACE_SECONDS = 15  # for resources being deleted: a healthy operator deletes their files


class StillHeld(Exception):
    """Resources still have the finalizer; the message names them."""


@dataclass(frozen=True)
class InstalledRelease:
    """The operator's Deployment, and the resources that it serves.

    `watched`: namespaces of its resources; None: all. `owner`: identity that owns its class; None: no owner.
    """

    api: client.ApiClient
    namespace: str
    deployment: str
    selector: str
    watched: Sequence[str] | None
    _: KW_ONLY
    selection: Selection = DEFAULT
    owner: ClassOwner | None = None

    def held(self) -> list[Body]:
        """Resources with our finalizer that this release serves."""
        if self._claimed_by_another():
            return []
        found = [item for kind in Kind for item in self._resources(kind) if _finalizers(item)]
        return [item for item in found if self.selection.serves(item)]

    def _operator_class(self) -> Body | None:
        path = api_path(OPERATOR_CLASSES, name=self.selection.operator_class)
        found: Body | None = _unless(404, lambda: call(self.api, "GET", path))
        return found

    def _claimed_by_another(self) -> bool:
        found = self._operator_class() if self.owner is not None else None
        return found is not None and owner_of(found) != self.owner

    def release_class(self) -> None:
        """Delete the OperatorClass if this release owns it."""
        found = self._operator_class() if self.owner is not None else None
        if found is None:
            return
        name = self.selection.operator_class
        if owner_of(found) != self.owner:
            _log.info("the operator class %s is served by %s, and is not deleted", name, owner_of(found))
            return
        # If another installation owns it by then, the uid differs.
        options = {"preconditions": {"uid": found["metadata"]["uid"]}}
        path = api_path(OPERATOR_CLASSES, name=name)
        _unless((404, 409), lambda: call(self.api, "DELETE", path, options))
        _log.info("the operator class %s is deleted", name)

    def stop_operator(self) -> None:
        """Scale the Deployment to zero; a missing one counts as stopped."""
        scale = {"spec": {"replicas": 0}}
        path = api_path(DEPLOYMENTS, namespace=self.namespace, name=self.deployment, subresource="scale")
        _unless(404, lambda: call(self.api, "PATCH", path, scale, MERGE_PATCH))

    def remove_operator(self) -> None:
        """Delete the Deployment and its pods; a missing one counts as stopped."""
        path = api_path(DEPLOYMENTS, namespace=self.namespace, name=self.deployment)
        body = {"propagationPolicy": "Background"}
        _unless(404, lambda: call(self.api, "DELETE", path, body))

    def labelled(self, selector: LabelSelector) -> frozenset[str]:
        """Names of the namespaces with these labels."""
        page = self._labelled(selector, {})
        names = {resource["metadata"]["name"] for resource in page["items"]}
        while following := (page.get("metadata") or {}).get("continue"):
            page = self._labelled(selector, {"continue": following})
            names |= {resource["metadata"]["name"] for resource in page["items"]}
        return frozenset(names)

    def _labelled(self, selector: LabelSelector, more: dict[str, str]) -> Body:
        return call(
            self.api, "GET", api_path(NAMESPACES, query={"labelSelector": str(selector), "limit": _PAGE, **more})
        )

    def operator_pods(self) -> list[str]:
        """Names of the pods that run or terminate."""
        path = api_path(PODS, namespace=self.namespace, query={"labelSelector": self.selector})
        return [pod["metadata"]["name"] for pod in call(self.api, "GET", path)["items"]]

    def release(self, resource: Body) -> None:
        """Remove our finalizer, and nothing else."""
        at = f"/metadata/finalizers/{resource['metadata']['finalizers'].index(FINALIZER)}"
        patch = [{"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}]
        meta, kind = resource["metadata"], Kind(resource["kind"])
        path = api_path(resource_of(kind), namespace=meta["namespace"], name=meta["name"])
        # Deleted or changed in between: the next round reads it again.
        if _unless((404, 409, 422), lambda: call(self.api, "PATCH", path, patch, JSON_PATCH)) is not None:
            _log.info("released %s %s/%s%s", kind.value, meta["namespace"], meta["name"], _left_behind(resource))

    def remove_test_pod(self) -> None:
        """Delete the pod of `helm test`, which Helm keeps for its log."""
        path = api_path(PODS, namespace=self.namespace, name=f"{self.deployment}-test")
        _unless(404, lambda: call(self.api, "DELETE", path))

    def _resources(self, kind: Kind) -> Iterator[Body]:
        for namespace in (None,) if self.watched is None else self.watched:
            page = self._page(kind, namespace, {})
            yield from page.get("items", ())
            while following := (page.get("metadata") or {}).get("continue"):
                page = self._page(kind, namespace, {"continue": following})
                yield from page.get("items", ())

    def _page(self, kind: Kind, namespace: str | None, more: dict[str, str]) -> Body:
        path = api_path(resource_of(kind), namespace=namespace, query={"limit": _PAGE, **more})
        page: Body = _unless(404, lambda: call(self.api, "GET", path)) or {}
        # Items of a list have no kind.
        return page | {"items": [item | {"kind": kind.value} for item in page.get("items", ())]}


def uninstall(
    release: InstalledRelease, seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    """Stop the operator and release everything, within `seconds`, even if the operator's pod does not end."""
    start = clock()
    while release.operator_pods() and _being_deleted(release.held()) and clock() < start + _GRACE_SECONDS:
        sleep(1)
    release.stop_operator()
    release_all(release, release.held, start + seconds, clock, sleep)
    release.release_class()
    release.remove_test_pod()


def release_all(
    release: InstalledRelease,
    find_held: Callable[[], list[Body]],
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Release resources until the operator's pods are gone and no finalizer is left. Raises StillHeld."""
    while True:
        pods, held = release.operator_pods(), find_held()
        for resource in held:
            release.release(resource)
        if not pods and not held:
            _log.info("the operator is stopped, and no resource has its finalizer")
            return
        if clock() > deadline:
            _give_up(find_held(), pods)
            return
        sleep(1)


def namespaces_of(given: str) -> Sequence[str] | None:
    """Namespaces of an argument: names separated by commas, none if empty, None for `*` (all)."""
    return None if given == "*" else tuple(filter(None, given.split(",")))


def _give_up(held: list[Body], pods: list[str]) -> None:
    _log.warning("the operator's pods still run: %s", ", ".join(pods) or "none")
    if held:
        names = ", ".join(
            f"{resource['kind']} {resource['metadata']['namespace']}/{resource['metadata']['name']}"
            for resource in held
        )
        raise StillHeld(f"these resources still have the finalizer {FINALIZER}: {names}")


def _being_deleted(resources: list[Body]) -> bool:
    return any(resource["metadata"].get("deletionTimestamp") for resource in resources)


def _finalizers(resource: Body) -> bool:
    return FINALIZER in (resource["metadata"].get("finalizers") or ())


def _left_behind(resource: Body) -> str:
    keeps = (resource.get("spec") or {}).get("deletionPolicy") == "Delete"
    return "; its files stay, although its deletionPolicy is Delete" if keeps else ""


def _unless(codes: int | tuple[int, ...], call: Callable[[], Any]) -> Any:
    """Response of a call; None for one of these status codes."""
    try:
        return call()
    except ApiException as error:
        if error.status not in (codes if isinstance(codes, tuple) else (codes,)):
            raise
        return None


def add_class_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select this release's resources; `release_of` reads them."""
    parser.add_argument("--operator-class", default=DEFAULT_CLASS, help="of the resources that it works on")
    parser.add_argument("--service-account", default="", help="the operator's, which owns the class")
    parser.add_argument("--release", default="contentgen", help="the name of the Helm release")


def release_of(api: client.ApiClient, asked: argparse.Namespace, watched: Sequence[str] | None) -> InstalledRelease:
    """Release of the arguments."""
    account = asked.service_account
    owner = ClassOwner(namespace=asked.namespace, service_account=account, release=asked.release) if account else None
    selection = Selection(operator_class=asked.operator_class)
    return InstalledRelease(
        api, asked.namespace, asked.deployment, asked.selector, watched, selection=selection, owner=owner
    )


def main() -> None:
    """`python -m contentgen_operator.uninstall`, in the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True, help="where the operator is")
    parser.add_argument("--deployment", required=True, help="its Deployment")
    parser.add_argument("--selector", required=True, help="labels of its pods")
    parser.add_argument("--namespaces", required=True, help="where its resources are: a,b; * for all namespaces")
    add_class_arguments(parser)
    parser.add_argument("--seconds", type=float, required=True, help="the longest that this may take")
    asked = parser.parse_args()
    logs.configure("plain")
    config.load_incluster_config()
    with client.ApiClient() as api:
        release = release_of(api, asked, namespaces_of(asked.namespaces))
        try:
            uninstall(release, asked.seconds, time.monotonic, time.sleep)
        except StillHeld as error:
            _log.error("%s", error)
            sys.exit(1)


if __name__ == "__main__":
    main()
