"""Replacement of Job controller, kubelet and worker, in its own process so that it is not measured with the operator.

For every Job it creates the pod and the pod's bound token, requests the work order from the worker API, reports
progress once, requests presigned uploads, uploads small constant files and the outcome, notifies the operator, and
writes the Job's end.
"""

import asyncio
import hashlib
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from contentgen_bench.latency.api import Api, from_kubeconfig
from contentgen_bench.latency.outputs import FACTS, OUTPUTS, SimulatedFile
from contentgen_contract.names import STAGE_LABEL, TOKEN_AUDIENCE, UID_LABEL, Kind, Reason, Stage, Step
from contentgen_contract.worker.orders import (
    FileOffer,
    Outcome,
    Progress,
    StoredFile,
    UploadGrants,
    UploadRequest,
    WorkOrder,
)
from contentgen_worker.retry import REFUSAL_SECONDS, WORKER_API

Body = dict[str, Any]
_AT_ONCE = 16  # Jobs that run at the same time, as many as a node or two would have


def main() -> None:
    """Run until terminated. Argument: a kubeconfig."""
    asyncio.run(_run(from_kubeconfig(Path(sys.argv[1]))))


async def _run(api: Api) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        node = SimulatedNode(session, api)
        async with asyncio.TaskGroup() as group:
            async for job in node.new_jobs():
                group.create_task(node.run(job))


class SimulatedNode:
    """Simulated execution of Jobs."""

    def __init__(self, session: aiohttp.ClientSession, api: Api) -> None:
        self._session = session
        self._at = api
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def new_jobs(self) -> AsyncIterator[Body]:
        """Every unfinished Job of the operator, once."""
        known: set[str] = set()
        query = {"labelSelector": UID_LABEL}
        listed = await self._api("GET", "/apis/batch/v1/jobs", params=query)
        for job in listed["items"]:
            known.add(job["metadata"]["uid"])
            if "completionTime" not in job["status"]:
                yield job
        query |= {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"], "timeoutSeconds": "3600"}
        url = f"{self._at.url}/apis/batch/v1/jobs"
        async with self._session.get(url, params=query, ssl=self._at.tls, read_bufsize=2**20) as stream:
            async for line in stream.content:
                event = json.loads(line)
                uid = event["object"]["metadata"].get("uid")
                if event["type"] == "ADDED" and uid not in known:
                    known.add(uid)
                    yield event["object"]

    async def run(self, job: Body) -> None:
        """Simulate one Job."""
        async with self._slots:
            started = _now()
            pod = await self._pod(job)
            await self._work(pod, await self._token(pod))
            await self._complete(job, started)

    async def _pod(self, job: Body) -> Body:
        meta, template = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        made = {"name": f"{meta['name']}-0", "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]}
        return await self._api("POST", f"/api/v1/namespaces/{meta['namespace']}/pods", json=body)

    async def _token(self, pod: Body) -> str:
        meta = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound},
        }
        account = pod["spec"]["serviceAccountName"]
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        token: str = (await self._api("POST", path, json=request))["status"]["token"]
        return token

    async def _complete(self, job: Body, started: str) -> None:
        meta, now = job["metadata"], _now()
        reached = {"status": "True", "reason": "CompletionsReached", "lastTransitionTime": now, "lastProbeTime": now}
        status = {
            "startTime": started,
            "completionTime": now,
            "succeeded": 1,
            "conditions": [{"type": word, **reached} for word in ("SuccessCriteriaMet", "Complete")],
        }
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"/apis/batch/v1/namespaces/{meta['namespace']}/jobs/{meta['name']}/status"
        await self._api("PATCH", path, data=json.dumps({"status": status}), headers=headers)

    async def _work(self, pod: Body, token: str) -> None:
        environment = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
        worker_api = SimulatedWorkerApi(
            self._session, environment["CONTENTGEN_WORKER_API_URL"], self._trust(environment), token
        )
        stage = Stage(pod["metadata"]["labels"][STAGE_LABEL])
        order = WorkOrder.model_validate_json(await worker_api.ask("GET", "/v1/order"))
        step = Step.STORING if stage is Stage.COLLECT else Step.DOWNLOADING
        await worker_api.ask("POST", "/v1/progress", Progress(step=step, fraction=0))
        files = OUTPUTS[order.kind, stage]
        offers = UploadRequest(files=tuple(_offer(file) for file in files))
        grants = UploadGrants.model_validate_json(await worker_api.ask("POST", "/v1/uploads", offers)).grants
        await asyncio.gather(
            *(self._put(grant.url, file.content, grant.headers) for grant, file in zip(grants, files, strict=True))
        )
        outcome = _outcome(order, order.kind, stage, files)
        headers = {"Content-Type": "application/json"}
        await self._put(order.outcome_url, outcome.model_dump_json(by_alias=True).encode(), headers)
        await worker_api.ask("POST", "/v1/outcome")

    async def _put(self, url: str, content: bytes, headers: dict[str, str]) -> None:
        async with self._session.put(URL(url, encoded=True), data=content, headers=headers) as answer:
            answer.raise_for_status()

    async def _api(self, method: str, path: str, **more: Any) -> Body:
        async with self._session.request(method, self._at.url + path, ssl=self._at.tls, **more) as answer:
            body: Body = await answer.json()
            if not answer.ok:
                raise RuntimeError(f"{method} {path}: {answer.status} {body.get('message')}")
            return body

    def _trust(self, environment: dict[str, str]) -> ssl.SSLContext:
        ca = environment["CONTENTGEN_WORKER_API_CA"]
        if ca not in self._contexts:
            self._contexts[ca] = ssl.create_default_context(cadata=ca)
        return self._contexts[ca]


class SimulatedWorkerApi:
    """Client of the operator's worker API that retries as a worker does: while the API is unavailable or limits the
    rate, and for a short time while it refuses the token, because the operator records a Job after its creation.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext, token: str) -> None:
        self._session = session
        self._url = url
        self._tls = tls
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Send a request; returns the response body. Raises ClientResponseError, or TimeoutError."""
        data = body.model_dump_json(by_alias=True) if body is not None else None
        async with asyncio.timeout(WORKER_API.seconds):
            began, pause = time.monotonic(), 0.25
            while True:
                wait = pause
                try:
                    async with self._session.request(
                        method, self._url + path, data=data, headers=self._headers, ssl=self._tls
                    ) as answer:
                        if not _is_retried(answer.status, time.monotonic() - began):
                            answer.raise_for_status()
                            return await answer.read()
                        cause = str(answer.status)
                        if answer.status == 429:
                            wait = float(answer.headers["Retry-After"])
                except aiohttp.ClientConnectionError as error:
                    cause = type(error).__name__
                print(f"{method} {path}: {cause}, sent again in {wait:g} s", flush=True)
                await asyncio.sleep(wait)
                pause = min(2 * pause, 2)


def _is_retried(status: int, seconds: float) -> bool:
    """Whether a worker repeats a request with this response, `seconds` after the first one."""
    return status in (425, 429) or status >= 500 or (status in (401, 403) and seconds < REFUSAL_SECONDS)


def _outcome(order: WorkOrder, kind: Kind, stage: Stage, files: tuple[SimulatedFile, ...]) -> Outcome:
    return Outcome(
        job_id=order.job_id,
        stage=stage,
        attempt=order.attempt,
        reason=Reason.COMPLETED,
        files=tuple(StoredFile(**_offer(file).model_dump()) for file in files),
        facts=FACTS[kind, stage],
    )


def _offer(file: SimulatedFile) -> FileOffer:
    return FileOffer(
        name=file.name,
        size_bytes=len(file.content),
        sha256=hashlib.sha256(file.content).hexdigest(),
        content_type=file.content_type,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main()
