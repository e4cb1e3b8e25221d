"""GET /worker-job: dry run of a worker Job by the operator's account. `helm test` reads it: no other account may create
such a Job, and its webhooks and admission policies are those that payments depend on.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Stage
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest
from contentgen_operator.kube.pods import no_dry_run, refusal_of
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.kube import API_ERRORS, explain
from contentgen_runtime.namespaces import Namespaces

_KEPT_SECONDS = 15.0  # everybody who reaches the port may ask
_DEFAULT = "default"
Answer = dict[str, str]


class JobDryRun(Protocol):
    """Dry run of the creation of a Job. Raises ApiException if it is refused."""

    async def check_job(self, namespace: str, manifest: dict[str, Any]) -> None: ...


def namespace_for_the_check(namespaces: Namespaces, own: str) -> str:
    """A namespace in which the operator may create Jobs; empty if none is known. `own` is the operator's, in which the
    admission policy refuses them unless it is watched by name.
    """
    return next(iter((*namespaces.names, *sorted(namespaces.labelled))), _DEFAULT if own != _DEFAULT else "")


@dataclass
class WorkerJobCheck:
    """Result of the dry run, kept for 15 s; one request at a time."""

    kube: JobDryRun
    namespace: Callable[[], str]
    template: Callable[[], JobTemplate]
    _: KW_ONLY
    clock: Callable[[], float] = time.monotonic
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _kept: tuple[float, Answer] | None = field(default=None, init=False)

    async def answer(self) -> Answer:
        """`refusal`: the API server's message, empty if it accepts the Job. `unknown`: why nothing was found out; else
        empty.
        """
        async with self._lock:
            if self._kept is None or self.clock() - self._kept[0] > _KEPT_SECONDS:
                answer = await self._checked()  # a slow API server's answer is kept as long as a quick one's
                self._kept = self.clock(), answer
            return self._kept[1]

    async def _checked(self) -> Answer:
        namespace, refusal, unknown = self.namespace(), "", ""
        try:
            if namespace:
                await self.kube.check_job(namespace, self._manifest(namespace))
            else:
                unknown = "no namespace of users is known"
        except ApiException as error:
            refusal = "" if no_dry_run(error) else refusal_of(error)
            unknown = "" if refusal else explain(error)
        except API_ERRORS as error:
            unknown = explain(error)
        return {"namespace": namespace, "refusal": refusal, "unknown": unknown}

    def _manifest(self, namespace: str) -> dict[str, Any]:
        ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=namespace, name="helm-test", uid=str(uuid.uuid4()))
        return job_manifest(ref, 1, Stage.PREPARE, 1, self.template())


def add_worker_job(app: FastAPI, check: WorkerJobCheck) -> FastAPI:
    """The app with GET /worker-job."""

    @app.get("/worker-job")
    async def worker_job() -> JSONResponse:
        return JSONResponse(await check.answer())

    return app
