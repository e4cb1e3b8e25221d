"""All endpoints of the app, read from its routes, with a valid request for each.

Endpoints that read a job by id, or list, need no entry. Endpoints that need a body or prepared data have an
`EndpointCase` in `CASES`.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from contentgen_contract.names import Kind
from contentgen_gateway import injection
from contentgen_simulation.gateway.tenants import PlantedJobs

MAIN_FILES = {
    Kind.LORA_TRAINING: "model.safetensors",
    Kind.IMAGE_GENERATION: "image_1.png",
    Kind.TRANSCRIPTION: "transcript.txt",
}


@dataclass(frozen=True)
class GatewayEndpoint:
    """One method of one path."""

    method: str
    path: str
    ids: tuple[str, ...]
    query: tuple[str, ...]
    has_body: bool
    signed_in: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, identity: str, job: PlantedJobs, file: str | None = None) -> str:
        """Path with an id and a file name; by default a file of the job."""
        path = self.path.replace("{file:path}", MAIN_FILES[job.kind] if file is None else file)
        for name in self.ids:
            path = path.replace("{" + name + "}", identity)
        return path


Make = Callable[[httpx.AsyncClient, PlantedJobs], Awaitable[str]]


@dataclass(frozen=True)
class EndpointCase:
    """Requirements of a successful request."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[PlantedJobs], Any] | None = None
    form: Callable[[PlantedJobs], dict[str, str]] | None = None
    named: Make | None = None
    """Creates the object of the path as its owner and returns its id. None: the path's object is a job."""
    success: range = range(200, 300)


def _order(**fields: Any) -> Callable[[PlantedJobs], Any]:
    return lambda job: {"namespace": job.namespace, "userId": job.namespace} | fields


def old_job(job: PlantedJobs) -> dict[str, Any]:
    """Record of the legacy service, of the same user."""
    job_id = f"30000000-0000-4000-8000-{job.job_id[-12:]}"
    key = f"transcripts/{job.user}/{job_id}/transcript"
    version = {"version": 1, "transcriptUrl": f"s3://assets/{key}.json", "textUrl": f"s3://assets/{key}.txt"}
    return {
        "jobId": job_id, "userId": job.user, "type": "transcription", "status": "completed", "progress": 100,
        "config": {}, "versions": [version | {"wordCount": 861, "duration": 282}], "createdAt": "2025-11-27T20:50:09Z",
    }  # fmt: skip


async def _collection(owner: httpx.AsyncClient, job: PlantedJobs) -> str:
    answer = await owner.post("/api/collections", json=_order(name="campaign")(job))
    return str(answer.json()["collectionId"])


_ON = range(303, 304)  # redirect to the page with the result

CASES: dict[str, EndpointCase] = {
    "POST /api/lora/train": EndpointCase(body=_order(videoUrl="https://h/v.mp4", loraName="face", trigger="jf")),
    "POST /api/images/generate": EndpointCase(body=_order(inputs={"prompt": "a cat"})),
    "POST /api/transcribe": EndpointCase(body=_order(audioUrl="https://h/a.mp3")),
    "POST /api/jobs/{job_id}/cancel": EndpointCase(
        query={"wait": "0"}, success=range(409, 410)
    ),  # 409: all jobs are finished
    "POST /api/jobs/{job_id}/collect": EndpointCase(success=range(409, 410)),  # 409, too
    "POST /api/jobs/{job_id}/approve": EndpointCase(success=range(409, 410)),  # 409: no run waits
    "POST /api/jobs/{job_id}/reject": EndpointCase(success=range(409, 410)),
    "POST /api/jobs/{job_id}/notifications/{notification_id}/resend": EndpointCase(
        success=range(404, 405)
    ),  # 404: the jobs have no notifications
    "PATCH /api/assets/{job_id}": EndpointCase(body=lambda _: {"tags": ["common"]}),
    "GET /api/search/transcripts": EndpointCase(query={"q": "common"}),
    "POST /api/collections": EndpointCase(body=_order(name="campaign")),
    "GET /api/collections/{collection_id}": EndpointCase(named=_collection),
    "PATCH /api/collections/{collection_id}": EndpointCase(named=_collection, body=lambda _: {"name": "campaign"}),
    "DELETE /api/collections/{collection_id}": EndpointCase(named=_collection),
    "POST /api/collections/{collection_id}/assets": EndpointCase(
        named=_collection, body=lambda job: {"assets": [{"jobId": job.job_id}]}
    ),
    "DELETE /api/collections/{collection_id}/assets/{job_id}": EndpointCase(named=_collection),
    "POST /api/assets/{job_id}/share": EndpointCase(body=lambda _: {"users": ["nobody"]}),
    "POST /api/admin/import": EndpointCase(body=lambda job: {"namespace": job.namespace, "jobs": [old_job(job)]}),
    # 403: a tenant's rights, in whichever namespace, allow no audit of the installation.
    "GET /api/admin/audit": EndpointCase(success=range(403, 404)),
    "POST /api/admin/audit": EndpointCase(success=range(403, 404)),
    "GET /api/assets/{job_id}/download/{file:path}": EndpointCase(success=range(307, 308)),
    "GET /files/{job_id}": EndpointCase(success=_ON),
    "POST /jobs/{job_id}/cancel": EndpointCase(success=range(409, 410)),
    "POST /jobs/{job_id}/fetch": EndpointCase(success=range(409, 410)),
    "POST /jobs/{job_id}/retry": EndpointCase(form=lambda _: {"run": "1"}, success=_ON),
    "GET /jobs/{job_id}/approve": EndpointCase(success=range(409, 410)),
    "POST /jobs/{job_id}/approve": EndpointCase(form=lambda _: {"run": "1", "amount": "2.00"}, success=range(409, 410)),
    "POST /jobs/{job_id}/reject": EndpointCase(form=lambda _: {"run": "1"}, success=range(409, 410)),
    "POST /jobs/{job_id}/resume": EndpointCase(success=_ON),
    "POST /jobs/{job_id}/notifications/{notification_id}/resend": EndpointCase(success=range(404, 405)),
    "POST /jobs/{job_id}/edit": EndpointCase(form=lambda _: {"tags": "common"}, success=_ON),
    "POST /jobs/{job_id}/share": EndpointCase(form=lambda _: {"users": "nobody"}, success=_ON),
    "POST /jobs/{job_id}/unshare": EndpointCase(form=lambda _: {"users": "nobody"}, success=_ON),
    "POST /jobs/{job_id}/collect": EndpointCase(form=lambda _: {"collection": "none"}, success=range(404, 405)),
    "POST /jobs/{job_id}/delete": EndpointCase(form=lambda _: {"force": "true"}, success=_ON),
    "POST /collections": EndpointCase(form=lambda job: {"name": "campaign", "namespace": job.namespace}, success=_ON),
    "GET /collections/{collection_id}": EndpointCase(named=_collection),
    "POST /collections/{collection_id}/put": EndpointCase(
        named=_collection, form=lambda job: {"job_id": job.job_id}, success=_ON
    ),
    "POST /collections/{collection_id}/take": EndpointCase(
        named=_collection, form=lambda job: {"job_id": job.job_id}, success=_ON
    ),
    "POST /collections/{collection_id}/delete": EndpointCase(named=_collection, success=_ON),
    "GET /search": EndpointCase(query={"q": "common"}),
}
"""Cases by `str(GatewayEndpoint)`."""

OPEN = frozenset(
    {"/health", "/ready", "/.well-known/contentgen-webhooks.json", "/openapi.json", "/api-docs", "/api-docs/{file}"}
    | {"/sign-in", "/sign-out", "/theme", "/static/{version}/{name}", "/favicon.ico"}
)
"""Paths that need no authentication."""


def endpoints(app: FastAPI) -> tuple[GatewayEndpoint, ...]:
    """All endpoints, including those hidden in the OpenAPI document."""
    found = []
    for route in iter_route_contexts(app.routes):
        methods = sorted((getattr(route, "methods", None) or set()) - {"HEAD"})
        found += [_endpoint(method, str(route.path), getattr(route, "dependant", None)) for method in methods]
    return tuple(found)


def _endpoint(method: str, path: str, dependant: Any) -> GatewayEndpoint:
    if dependant is None:
        return GatewayEndpoint(method, path, (), (), has_body=False, signed_in=False)
    every = tuple(_with_dependencies(dependant))
    query = [name for one in every for param in one.query_params for name in _names(param)]
    ids = dict.fromkeys(param.alias for one in every for param in one.path_params)
    signed_in = any(one.call is injection.caller_of for one in every)
    return GatewayEndpoint(method, path, tuple(ids), tuple(query), any(one.body_params for one in every), signed_in)


def _with_dependencies(dependant: Any) -> Iterator[Any]:
    yield dependant
    for dependency in dependant.dependencies:
        yield from _with_dependencies(dependency)


def _names(parameter: Any) -> list[str]:
    model = parameter.field_info.annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [each_field.alias or name for name, each_field in model.model_fields.items()]
    return [parameter.alias]


def case_of(endpoint: GatewayEndpoint) -> EndpointCase:
    """Case of an endpoint, or the default one."""
    return CASES.get(str(endpoint), EndpointCase())


def suits(endpoint: GatewayEndpoint, job: PlantedJobs) -> bool:
    """Whether a path for one kind matches this job's kind."""
    about = {"/lora/": Kind.LORA_TRAINING, "/loras/": Kind.LORA_TRAINING, "/dataset": Kind.LORA_TRAINING}
    about |= {"/pictures/": Kind.IMAGE_GENERATION, "/transcripts/": Kind.TRANSCRIPTION}
    about["/collections/"] = Kind.IMAGE_GENERATION  # visible with list rights on any kind: carol has one
    return all(job.kind is kind for part, kind in about.items() if part in endpoint.path)
