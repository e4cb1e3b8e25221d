"""Access of `contentgen prepare-rollback` to the API server, MongoDB and the bucket."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pymongo.database import Database

from contentgen_contract.api_paths import resource_of
from contentgen_contract.names import ACCOUNT_LABEL, DEFAULT_ACCOUNT, Kind
from contentgen_contract.records import keys
from contentgen_contract.resources.namespaces import requires_approval
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_contract.resources.spec import Approval
from contentgen_gateway.migration.rollback import Finding, MarkerOf, Rollback, recent_status_write
from contentgen_runtime import s3
from contentgen_runtime.kube import Body, KubeApi

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MOST_BYTES = 4096  # of a marker


class OperatorRuns(Exception):
    """The operator seems to be running: it has written a status in the last minute."""


async def prepare(
    kube: KubeApi,
    namespaces: Sequence[str],
    database: Database[dict[str, Any]],
    marker_of: MarkerOf,
    now: datetime,
    *,
    dry: bool,
    operator_class: str = DEFAULT_CLASS,
    approval: Approval = Approval.AUTOMATIC,
) -> list[Finding]:
    """Prepare a rollback in these namespaces (empty: all); `approval` is the minimum in all of them. Raises
    OperatorRuns.
    """
    resources = await _resources(kube, namespaces)
    mine = [(kind, body) for kind, body in resources if class_of(body) == operator_class]
    if written := recent_status_write(mine, now):
        raise OperatorRuns(
            f"the operator has written the status of {written}: scale its Deployment to 0, wait a minute, and try again"
        )
    labels = await _labels(kube, sorted({body["metadata"]["namespace"] for _, body in resources}))
    rollback = Rollback(
        database,
        marker_of,
        _patch(kube),
        dry=dry,
        operator_class=operator_class,
        accounts=_accounts(labels),
        approvals={
            name for name, given in labels.items() if approval is not Approval.AUTOMATIC or requires_approval(given)
        },
    )
    return await rollback.prepare(resources, now)


async def _labels(kube: KubeApi, namespaces: Sequence[str]) -> dict[str, dict[str, str]]:
    """Labels of namespaces by name."""
    found = {name: (await kube.get_namespace(name) or {}).get("metadata") or {} for name in namespaces}
    return {name: metadata.get("labels") or {} for name, metadata in found.items()}


def _accounts(labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Provider accounts other than the default one that labels grant, by namespace."""
    granted = {name: given.get(ACCOUNT_LABEL, DEFAULT_ACCOUNT) for name, given in labels.items()}
    return {name: account for name, account in granted.items() if account != DEFAULT_ACCOUNT}


async def undo(
    kube: KubeApi, namespaces: Sequence[str], database: Database[dict[str, Any]], marker_of: MarkerOf, *, dry: bool
) -> list[Finding]:
    """Remove the suspensions of `prepare`."""
    return await Rollback(database, marker_of, _patch(kube), dry=dry).undo(await _resources(kube, namespaces))


async def _resources(kube: KubeApi, namespaces: Sequence[str]) -> list[tuple[Kind, Body]]:
    """Resources of all kinds in these namespaces (empty: all)."""
    pages = [
        (kind, page)
        for namespace in namespaces or (None,)
        for kind in Kind
        async for page in kube.pages(resource_of(kind), namespace)
    ]
    return [(kind, body) for kind, page in pages for body in page.items]


def _patch(kube: KubeApi) -> Callable[[Kind, Body, Body], Any]:
    def patch(kind: Kind, body: Body, change: Body) -> Any:
        meta = body["metadata"]
        return kube.request("PATCH", resource_of(kind), namespace=meta["namespace"], name=meta["name"], body=change)

    return patch


def marker_reader(client: "S3Client", bucket: str) -> MarkerOf:
    """Reader of the markers in the bucket. An unreadable marker returns a purchase id that matches none."""

    def marker_of(key: str) -> str | None:
        try:
            reply = client.get_object(Bucket=bucket, Key=keys.purchase_marker(key))
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        try:
            return str(json.loads(reply["Body"].read(_MOST_BYTES))["purchaseId"])
        except (ValueError, KeyError, TypeError):
            return "unreadable"

    return marker_of
