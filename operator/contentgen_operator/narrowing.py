"""Helm hook before an upgrade or a rollback to values that select fewer namespaces.

Resources of this operator's class in the deselected namespaces are released before its permissions there are removed.
Afterwards they can be deleted without an operator.

If there are any, the operator with the old values is stopped first, so that it adds no finalizer back.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Container
from typing import Any

from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_operator.uninstall import (
    InstalledRelease,
    StillHeld,
    add_class_arguments,
    namespaces_of,
    release_all,
    release_of,
)
from contentgen_runtime import logs
from kubernetes import client, config

_log = logging.getLogger("narrowing")
Body = dict[str, Any]


def release_the_rest(
    release: InstalledRelease,
    selected: Container[str],
    seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Release resources in namespaces that are not selected, within `seconds`. Raises StillHeld.

    The Deployment is deleted, not scaled: Helm recreates it, while a number of replicas that another client has set is
    a conflict with server-side apply (Helm 4).
    """
    start = clock()

    def held() -> list[Body]:
        return [resource for resource in release.held() if resource["metadata"]["namespace"] not in selected]

    found = held()
    if not found:
        _log.info("no resource outside the selected namespaces has the finalizer")
        return
    for each in found:
        _log.info("%s%s", _name(each), _in_flight(each))
    release.remove_operator()
    release_all(release, held, start + seconds, clock, sleep)


def _name(body: Body) -> str:
    return f"{body['kind']} {body['metadata']['namespace']}/{body['metadata']['name']} leaves the selection"


def _in_flight(body: Body) -> str:
    status = body.get("status") or {}
    over = status.get("phase") in ("Completed", "Failed")
    request = (status.get("run") or {}).get("requestId")
    return f" with request {str(request)!a} under way, which the ledger keeps" if request and not over else ""


def main() -> None:
    """`python -m contentgen_operator.narrowing`, in the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True, help="where the operator is")
    parser.add_argument("--deployment", required=True, help="its Deployment")
    parser.add_argument("--selector", required=True, help="labels of its pods")
    add_class_arguments(parser)
    parser.add_argument("--namespaces", default="", help="the namespaces that stay: a,b")
    parser.add_argument("--namespace-selector", default="", help="or a LabelSelector of them, as JSON")
    parser.add_argument("--seconds", type=float, required=True, help="the longest that this may take")
    asked = parser.parse_args()
    if bool(asked.namespaces) == bool(asked.namespace_selector):
        parser.error("expected --namespaces or --namespace-selector")
    logs.configure("plain")
    config.load_incluster_config()
    with client.ApiClient() as api:
        release = release_of(api, asked, None)
        selected: Container[str] = namespaces_of(asked.namespaces) or ()
        if asked.namespace_selector:
            selected = release.labelled(LabelSelector.model_validate_json(asked.namespace_selector))
        try:
            release_the_rest(release, selected, asked.seconds, time.monotonic, time.sleep)
        except StillHeld as error:
            _log.error("%s; upgrade again: the operator is stopped until then", error)
            sys.exit(1)


if __name__ == "__main__":
    main()
