"""Mutants of the running system, which prove that the end-to-end test can fail.

Python runs `sitecustomize` at its start. A ConfigMap with one, mounted into the operator (and by it into workers),
violates one invariant of the installed, unchanged images.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from contentgen_cluster import release
from contentgen_e2e.boundary import actions
from contentgen_e2e.world import ClusterWorld, wait_for_rollout

_NAME = "sabotage"
_PATH = "/sabotage:/opt/contentgen"

WORKER_UPLOADS_NOTHING = """
import os
if "CONTENTGEN_WORKER_API_CA" in os.environ:  # a worker
    from contentgen_worker.upload import Uploader
    Uploader._store_batch = lambda self, batch, pool: None
else:
    from contentgen_operator.kube import job_manifests as jobs
    container = jobs._container
    pod = jobs._pod
    def sabotaged(*args):
        made = container(*args)
        made["env"].append({"name": "PYTHONPATH", "value": "/sabotage:/opt/contentgen"})
        made["volumeMounts"].append({"name": "sabotage", "mountPath": "/sabotage"})
        return made
    def with_volume(*args):
        made = pod(*args)
        made["volumes"].append({"name": "sabotage", "configMap": {"name": "sabotage"}})
        return made
    jobs._container, jobs._pod = sabotaged, with_volume
"""
RECORD_IS_NOT_WRITTEN = """
from contentgen_operator.stores.records import RecordStore
async def nothing(self, resource, status):
    return None
RecordStore.write = nothing
"""
PROVIDER_IS_CALLED_TWICE = """
from contentgen_operator.providers.fal import Fal
once = Fal.submit
async def nothing():
    return None
async def twice(self, call, before_send):
    await once(self, call, before_send)
    return await once(self, call, nothing)
Fal.submit = twice
"""


@contextmanager
def sabotaged(world: ClusterWorld, code: str) -> Iterator[None]:
    """Run the operator with a mutant within the context."""
    for namespace in (release.NAMESPACE, world.namespace):
        _put_code(world, namespace, code)
    mount = {"name": _NAME, "mountPath": "/sabotage"}
    container = {
        "name": "operator",
        "env": [{"name": "PYTHONPATH", "value": _PATH}],
        "volumeMounts": [mount],
    }
    volume = {"name": _NAME, "configMap": {"name": _NAME}}
    actions(world, "Audit", "workers")  # the mutants' workers have a volume that the policy refuses
    _patch(world, {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}})
    try:
        yield
    finally:
        actions(world, "Deny", "workers")
        release.kubectl(world.root, "--namespace", release.NAMESPACE, "rollout", "undo", "deployment/contentgen")
        wait_for_rollout(world.root, "contentgen")


def _put_code(world: ClusterWorld, namespace: str, code: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NAME, "namespace": namespace},
        "data": {"sitecustomize.py": code},
    }
    release.kubectl(world.root, "apply", "--filename", "-", stdin=json.dumps(body))


def _patch(world: ClusterWorld, patch: dict[str, object]) -> None:
    where = ["--namespace", release.NAMESPACE, "patch", "deployment", "contentgen"]
    release.kubectl(world.root, *where, "--type=strategic", "--patch", json.dumps(patch))
    wait_for_rollout(world.root, "contentgen")
