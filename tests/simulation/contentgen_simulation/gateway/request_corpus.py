"""Inputs for gateway tests: list filters, requests of all routes, and malformed URLs."""

from datetime import UTC, datetime
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.records.searching import conditions
from contentgen_gateway.stores.queries import JobFilter, JobStatus, Order, Scope, Sorted
from contentgen_gateway.stores.state_filters import StateFilter

ALL = frozenset(Kind)
LORAS = frozenset({Kind.LORA_TRAINING})
EVERYTHING = Scope({"": ALL})
SCOPES = {
    "everything": Scope({"": ALL}),
    "one namespace": Scope({"red": ALL}),
    "several": Scope({"red": ALL, "blue": ALL}),
    "one kind": Scope({"red": LORAS}),
    "mixed": Scope({"red": ALL, "blue": LORAS}),
    "shared": Scope({}, jobs=("j",)),
    "own and shared": Scope({"red": ALL}, jobs=("j",)),
    "own and public": Scope({"red": LORAS}, public=True, only="red"),
    "all that is public": Scope({"red": ALL}, jobs=("j",), public=True),
}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
WANTED = [
    JobFilter(user_id=user, type=type_, status=status, tags=tags, terms=terms, since=since, model=model, made=made)
    for user in (None, "ann")
    for type_ in (None, "lora-training")
    for status in (None, JobStatus.FAILED)
    for tags in ((), ("a", "b"))
    for terms in ((), conditions("a b"))
    for since in (None, NOW)
    for model, made in ((None, False), ("flux-pro", True))
]
WANTED += [JobFilter(user_id=user, type=type_, state=state, approvable=may)
           for user in (None, "ann") for type_ in (None, "lora-training") for state in StateFilter
           for may in (None, {}, {"red": LORAS})]  # fmt: skip
WANTED += [JobFilter(sort=sort, order=order, after=after)
           for sort in Sorted for order in Order for after in (None, (None, "j"))]  # fmt: skip

PATHS = (
    "/api/jobs/{}", "/api/lora/{}", "/api/lora/status/{}", "/api/jobs/{}/dataset", "/api/assets/{}/download",
    "/api/assets/{}/stats", "/api/jobs?userId=ann", "/api/lora/list?userId=ann", "/api/assets/loras?userId=ann",
    "/api/assets/images?userId=ann&model=flux-pro", "/api/assets/transcripts?userId=ann",
    "/api/assets/search?userId=ann&q=ava&tags=a", "/api/assets/stats?userId=ann", "/api/usage?userId=ann&by=model",
    "/api/collections?userId=ann",
)  # fmt: skip
"""Reads, of user ann in namespace red; `{}` is a job."""

CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("PATCH", "/api/assets/{}", {"description": "x"}),
    ("POST", "/api/assets/{}/share", {"users": ["bob"]}),
    ("GET", "/api/assets/{}/share", None),
    ("DELETE", "/api/assets/{}/share?users=bob", None),
    ("DELETE", "/api/assets/{}/share", None),
    ("POST", "/api/collections", {"name": "c", "namespace": "red", "userId": "ann"}),
    ("POST", "/api/admin/import", {"namespace": "red", "jobs": [
        {"jobId": "old", "userId": "ann", "type": "transcription", "status": "failed", "versions": [],
         "createdAt": "2025-11-27T19:00:00Z"},
    ] * 2}),
    ("DELETE", "/api/jobs/{}", None),
)  # fmt: skip
"""Changes, in this order: the last one deletes the job."""

NO_URLS = (
    "s3://\u00d8\x1f\u00f6b\x02]n\u00a9", "s3://[bucket/x", "https://exa]mple.com/x", "https://[::1", "https://[zz]/x",
    "https://[:::]/x", "https://[1.2.3]/x", "https://\u2100.example.com/x", "https://a\uff0fb.example.com/x",
    "https://example.com\\\\@evil.example/x", "https://[2606:4700::1]evil.example/x",
)  # fmt: skip
"""URLs whose host parsers reject or delimit differently."""
