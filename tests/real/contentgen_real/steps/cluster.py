"""Step with a cluster: a worker Job in a dry run of the API server, and what the cluster changes in it."""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.texts import foreign_text
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest
from contentgen_operator.state.observed import ResourceRef
from contentgen_real.context import StepContext, StepFailed
from contentgen_real.place import CLUSTER

_TEMPLATE = JobTemplate(deadline_seconds=600, worker_api_url="https://worker-api.example", worker_api_ca="")
_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
    "limits": {"memory": "4Gi", "ephemeral-storage": "24Gi"},
}
_OF_THE_SERVER = (
    "status",
    "metadata.managedFields",
    "metadata.creationTimestamp",
    "metadata.uid",
    "metadata.generation",
)


async def dry_run(context: StepContext) -> None:
    """`kubectl create --dry-run=server` of a worker Job: nothing is created. A changed value of ours is a difference;
    additions are printed.
    """
    place = context.place
    namespace = place.key("KUBE_NAMESPACE") or "default"
    sent = _job(namespace)
    answered = await _created(place.key(CLUSTER), namespace, sent)
    for path in changed(sent, answered):
        context.expect("Job in a dry run", path, "as sent", "another value")
    additions = sorted(path for path in added(sent, answered) if not path.startswith(_OF_THE_SERVER))
    context.note(f"the cluster adds {len(additions)} fields: {', '.join(additions)}"[:2000])


def _job(namespace: str) -> dict[str, Any]:
    """A worker's Job as the operator makes it, without an owner, which would have to exist."""
    uid = f"00000000-0000-4000-8000-{secrets.token_hex(6)}"
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=namespace, name="real", uid=uid)
    job = job_manifest(ref, 1, Stage.PREPARE, 1, _TEMPLATE.model_copy(update={"resources": _RESOURCES}))
    del job["metadata"]["ownerReferences"]
    return job


async def _created(cluster: str, namespace: str, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """The API server's answer. Raises StepFailed."""
    arguments = ("--context", cluster, "--namespace", namespace, "create", "--dry-run=server", "-o", "json", "-f", "-")
    try:
        process = await asyncio.create_subprocess_exec(
            "kubectl", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        raise StepFailed("kubectl is missing") from None
    output, errors = await process.communicate(json.dumps(job).encode())
    if process.returncode:
        raise StepFailed(f"the cluster refuses a worker Job: {foreign_text(errors.decode(errors='replace'), 400)}")
    answer: Mapping[str, Any] = json.loads(output)
    return answer


def changed(sent: Any, answered: Any, path: str = "") -> Iterator[str]:
    """Paths of values that were sent and are not answered as such. An empty object may be missing."""
    if isinstance(sent, dict) and isinstance(answered, dict):
        for name, value in sent.items():
            if value not in ({}, []) or name in answered:
                yield from changed(value, answered.get(name), f"{path}.{name}".removeprefix("."))
    elif isinstance(sent, list) and isinstance(answered, list) and len(sent) <= len(answered):
        for index, value in enumerate(sent):
            yield from changed(value, answered[index], f"{path}[{index}]")
    elif sent != answered:
        yield path


def added(sent: Any, answered: Any, path: str = "") -> Iterator[str]:
    """Paths of values that are answered and were not sent."""
    if isinstance(sent, dict) and isinstance(answered, dict):
        for name, value in answered.items():
            here = f"{path}.{name}".removeprefix(".")
            yield from added(sent[name], value, here) if name in sent else (here,)
    elif isinstance(sent, list) and isinstance(answered, list):
        for index, value in enumerate(answered):
            here = f"{path}[{index}]"
            yield from added(sent[index], value, here) if index < len(sent) else (here,)
