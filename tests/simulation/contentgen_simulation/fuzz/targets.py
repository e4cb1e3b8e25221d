"""Fuzz targets and their oracles."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import bson
import httpx
import mongomock
from hypothesis import strategies as st
from urllib3.util import parse_url
from yarl import URL

from contentgen_contract.api_paths import KNOWN, InvalidName, api_path
from contentgen_contract.names import API_VERSION, Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.searching import Sought
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.stores.aggregations import By, job_totals, purchase_totals
from contentgen_gateway.stores.collections import CollectionFilter
from contentgen_gateway.stores.queries import JobFilter, Query, Scope, Sorted, page_query, with_cursor
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import MaybeAccepted, ProviderError
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import Call
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_operator.worker_api.authentication import (
    NotAWorker,
    NotYetRecorded,
    Unauthenticated,
    WorkerAuthenticator,
)
from contentgen_runtime.kube import Body
from contentgen_simulation.fuzz import FuzzTarget
from contentgen_simulation.world import blocking

_PIECES = (
    *("..", ".", "/", "//", "\\", "%2e", "%2E%2e", "%2f", "%", "%25", "?", "#", "&", "=", ";", "@", ":", ",", "+", " "),
    *("\0", "\n", "\r", "\t", "\u2024", "\uff0f", "\u00e9", "\u0131", "\u0661", "A", "_", "-", "a", "b", "0", "v1"),
    *("api", "apis", "namespaces", "pods", "log", "kube-system", "victim", "tenant", "secrets", "jobs", "fal-ai"),
    *("$ne", "$where", "$", "{", "}", "[", "]", '"', "'", "*", "status", "watch=true", "requests"),
)
_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)
_HOSTILE = st.one_of(_NAMES, st.lists(st.sampled_from(_PIECES), max_size=9).map("".join), st.text(max_size=30))
_SURROGATES = st.one_of(_HOSTILE, st.just("\ud800"))


# Paths of the API server: [plural, namespace, name, subresource, query]

_RESOURCES = {each.plural: each for each in KNOWN}
_ALLOWED = set("abcdefghijklmnopqrstuvwxyz0123456789-.")


def _paths(value: list[Any]) -> None:
    plural, namespace, name, subresource, query = value
    resource = _RESOURCES[plural]
    try:
        path = api_path(resource, namespace=namespace, name=name, subresource=subresource, query=query)
    except InvalidName as error:
        if len(str(error)) > 250:
            raise AssertionError("the error message repeats much of the input") from error
        assert not (
            resource.namespaced and _plain(namespace, 63) and _plain(name, 63) and subresource is None and not query
        )
        return
    root = ["api", "v1"] if resource.api_version == "v1" else ["apis", *resource.api_version.split("/")]
    expected = [*root, *(["namespaces", namespace] if namespace is not None else []), resource.plural]
    expected += [each for each in (name, subresource) if each is not None]
    url = f"http://host{path}"
    for seen in (
        str(URL(url).raw_path),
        str(parse_url(url).path),
        urlsplit(url).path,
        httpx.URL(url).raw_path.decode(),
    ):
        assert seen.partition("?")[0] == "/" + "/".join(expected), seen
    for text in (namespace, name):
        assert text is None or (set(text) <= _ALLOWED and text.strip(".-") == text and ".." not in text and text), text
    assert "#" not in path
    asked = [(key, str(given)) for key, given in (query or {}).items()]
    assert parse_qsl(urlsplit(url).query, keep_blank_values=True) == asked
    assert list(URL(url).query.items()) == asked


def _plain(text: str | None, most: int) -> bool:
    """Whether the name is simple and must be accepted."""
    return text is not None and 0 < len(text) <= most and set(text) <= _ALLOWED - set(".-")


_QUERIES = st.dictionaries(st.sampled_from(["limit", "continue", "fieldSelector"]), _SURROGATES, max_size=2)
_ANY_PATH = st.tuples(
    st.sampled_from(sorted(_RESOURCES)),
    st.sampled_from(["tenant", None]) | _SURROGATES,
    st.sampled_from(["it", None]) | _SURROGATES,
    st.sampled_from(["log", "status", None, None]) | _HOSTILE,
    st.none() | _QUERIES,
)
_COLLECTION = st.tuples(st.just("pods"), st.just("tenant"), st.none(), st.none(), _QUERIES)
PATHS = FuzzTarget("paths", (_ANY_PATH | _COLLECTION).map(list), _paths)


# S3 keys: [kind, stage, user id, job id, version, file name, another user id, another job id]

_FILES = ("images/0001.jpg", "captions/0001.txt", "dataset.json", "model.safetensors", "image_1.png", "audio.flac",
          "transcript.json", "preview.png")  # fmt: skip
_TOPS = {"loras", "datasets", "generated-images", "transcripts"}


def _keys(value: list[Any]) -> None:
    kind, stage = list(Kind)[value[0] % 3], list(Stage)[value[1] % 2]
    user, job, version, name, other_user, other_job = value[2:]
    try:
        prefix = keys.prefix(kind, stage, user, job, version)
        folders = keys.job_prefixes(kind, user, job)
    except ValueError:
        return
    top, *segments = prefix.split("/")
    assert top in _TOPS
    assert segments[:2] == [user, job]
    assert prefix.endswith("/")
    assert any(prefix.startswith(folder) for folder in folders)
    if keys.is_output(kind, stage, name):
        key = prefix + name
        assert all(each not in ("", ".", "..") and each.isprintable() and each.isascii() for each in key.split("/")), (
            key
        )
        assert str(URL(f"http://s3/bucket/{key}").raw_path) == f"/bucket/{key}"
        assert keys.run_of(key) == (user, job, version)
        assert keys.job_prefix_of(key) in folders
    _others_folder(kind, folders, (user, job), (other_user, other_job))
    internal, response = keys.outcome(job, version, stage, 1), keys.purchase_response(job)
    assert (internal.startswith(keys.internal_prefix(job)), internal.count("/")) == (True, 3)
    assert (response.startswith(keys.purchase_prefix(job)), response.count("/")) == (True, 2)


def _others_folder(kind: Kind, folders: set[str], owner: tuple[str, str], other: tuple[str, str]) -> None:
    if owner == other:
        return
    try:
        theirs = keys.job_prefixes(kind, *other)
    except ValueError:
        return
    assert not any(mine.startswith(their) or their.startswith(mine) for mine in folders for their in theirs)


KEYS = FuzzTarget(
    "keys",
    st.tuples(
        st.integers(0, 2), st.integers(0, 1), _HOSTILE, _HOSTILE, st.integers(1, 999_999),
        st.sampled_from(_FILES) | _HOSTILE, _HOSTILE, _HOSTILE,
    ).map(list),
    _keys,
)  # fmt: skip


# MongoDB filters: [user id, type, model, tags, terms, sort, value and jobId of a cursor]

_OPERATORS = {"$or", "$and", "$in", "$exists", "$eq", "$gte", "$lt", "$gt", "$ne", "$elemMatch"}
_FIELDS = {
    "namespace", "type", "userId", "jobId", "config.model", "versions.0", "status", "createdAt", "startedAt",
    "completedAt", "progress", "metadata.tags", "terms", "discard", "metadata.isPublic", "collectionId", "tenant",
}  # fmt: skip
_SCOPE = Scope({"red": frozenset(Kind), "green": frozenset({Kind.TRANSCRIPTION})})


@cache
def _records() -> Any:
    """Records of three namespaces; the caller may see one namespace and one kind of another."""
    made: Any = mongomock.MongoClient(tz_aware=True)["db"]["jobs"]
    at = datetime(2026, 11, 1, tzinfo=UTC)
    common = {"userId": "ann", "createdAt": at, "terms": ["a"], "metadata": {"tags": ["a"]}, "versions": [{}]}
    for namespace in ("red", "green", "blue"):
        for kind in Kind:
            made.insert_one(common | {"namespace": namespace, "type": kind.record_type, "jobId": f"{namespace}{kind}"})
    return made


def _filters(value: list[Any]) -> None:
    user, kind, model, tags, terms, sort, last, job = value
    after = (last, job) if job is not None else None
    sought = tuple((Sought(term), Sought(term, prefix=True)) for term in terms)
    wanted = JobFilter(
        user_id=user, type=kind, model=model, tags=tuple(tags), terms=sought, sort=Sorted(sort), after=after
    )
    query: Query = page_query(_SCOPE, wanted)
    tallies = [job_totals(_SCOPE, wanted, By.MODEL), purchase_totals(_SCOPE, wanted, By.USER)]
    page = CollectionFilter(
        ("red",), user, after=(datetime(2026, 1, 1, tzinfo=UTC), job) if job is not None else None
    ).page()
    for each in (query.filter, page, *(tally.pipeline[0]["$match"] for tally in tallies)):
        for key in _all_keys(each):
            assert key in _OPERATORS or key in _FIELDS, key
        bson.encode(each)
    plain = [job_totals(_SCOPE, JobFilter(), By.MODEL), purchase_totals(_SCOPE, JobFilter(), By.USER)]
    assert [tally.pipeline[1] for tally in tallies] == [tally.pipeline[1] for tally in plain]
    for found in _records().find(query.filter):
        assert found["namespace"] == "red" or (found["namespace"], found["type"]) == ("green", "transcription"), found


def _all_keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _all_keys(inner)
    elif isinstance(value, list):
        for element in value:
            yield from _all_keys(element)


_MAYBE = st.none() | _HOSTILE
FILTERS = FuzzTarget(
    "filters",
    st.tuples(
        _MAYBE, _MAYBE, _MAYBE, st.lists(_HOSTILE, max_size=2), st.lists(_HOSTILE, max_size=2),
        st.sampled_from(["progress", "status", "type"]), _MAYBE, _MAYBE,
    ).map(list),
    _filters,
)  # fmt: skip


# URLs of the providers: [model, request id, id in the answer]


class _Wire(httpx.MockTransport):
    """HTTP transport that records requests and responds with an id."""

    def __init__(self, given: Any) -> None:
        super().__init__(self._answer)
        self.urls: list[httpx.URL] = []
        self._given = given

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(request.url)
        answer = {"request_id": self._given, "id": self._given, "status": "IN_PROGRESS", "logs": []}
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(answer).encode()))


class _AssemblyAI(AssemblyAI):
    def __init__(self, key: KeyFile, wire: _Wire) -> None:
        super().__init__(key, "http://provider")
        self._wire = wire

    def _connected(self, key: str) -> httpx.Client:  # noqa: ARG002 - there is one
        return httpx.Client(transport=self._wire, base_url="http://provider")


class _FuzzKey(KeyFile):
    """Provider key without a file."""

    def __init__(self) -> None:
        super().__init__("")

    def read(self) -> str:
        return "key"


@cache
def _fal() -> Fal:
    """Shared adapter: creating TLS contexts takes longer than a check."""
    return Fal(_FuzzKey(), "http://provider/queue", "http://provider/api")


def _providers(value: list[Any]) -> None:
    asyncio.run(_ask_providers(*value))


async def _ask_providers(model: str, request_id: str, given: Any) -> None:
    wire = _Wire(given)
    fal = _fal()
    fal._client = fal._paying = httpx.AsyncClient(transport=wire, trust_env=False)
    try:
        taken = await fal.submit(Call(provider="fal", model=model, arguments={}, correlation_key=""), _nothing)
    except MaybeAccepted:
        pass  # the answer's id is none
    except ProviderError:
        assert not wire.urls, "refused after it was sent"
    else:
        _judge_id(taken, given)
    for url in wire.urls:
        assert _path(url) == ["queue", *model.split("/")], url
    for look in (fal.poll, fal.cancel):
        wire.urls.clear()
        try:
            await look(model, request_id)
        except ProviderError:
            continue
        finally:
            for url in wire.urls:
                _judge_look(_path(url), model, request_id)
    await fal._client.aclose()
    wire.urls.clear()
    try:
        await _AssemblyAI(_FuzzKey(), wire).poll("", request_id)
    except ProviderError:
        assert not wire.urls, "refused after it was sent"
    for url in wire.urls:
        assert _path(url) == ["v2", "transcript", request_id], url


async def _nothing() -> None:
    """No-op hook before the request."""


def _judge_id(taken: str, given: Any) -> None:
    assert taken == given
    assert _safe(taken), taken


def _judge_look(path: list[str], model: str, request_id: str) -> None:
    top, *endpoint, word, asked = path if path[-1] not in ("status", "cancel") else path[:-1]
    assert (top, word, asked) == ("queue", "requests", request_id), path
    assert endpoint
    # fal-client writes the older `owner-name` as owner/name.
    assert model.startswith("/".join(endpoint)) or model.split("-", 1) == endpoint, path
    assert _safe(request_id)


def _path(url: httpx.URL) -> list[str]:
    """Path segments as sent; the input may not change any other part of the URL."""
    assert (url.host, url.fragment, url.userinfo) == ("provider", "", b""), url
    path, _, query = url.raw_path.decode().partition("?")
    assert query in ("", "logs=false"), url
    return path.split("/")[1:]


def _safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set("/\\?#%&=;:@ ") and text.strip(".") != ""


PROVIDERS = FuzzTarget(
    "providers",
    st.tuples(
        st.sampled_from(["fal-ai/flux/dev", "workflows/a/b", "comfy/a", "x"])
        | _HOSTILE
        | _HOSTILE.map("fal-ai/{}".format),
        st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True) | _HOSTILE,
        _HOSTILE | st.none() | st.integers() | st.lists(st.none(), max_size=1) | st.just({"$ne": 1}),
    ).map(list),
    _providers,
)


# Owner references of a worker's pod: [[apiVersion, kind, name, uid, controller], …]


class _Kube(Kube):
    """API client that finds the recorded Job's uid under every path."""

    def __init__(self, owners: list[Body]) -> None:
        super().__init__()
        self.paths: list[str] = []
        self._pod = {
            "metadata": {"namespace": "tenant", "name": "worker", "uid": "pod-uid", "ownerReferences": owners},
        }

    async def review_token(self, token: str, audience: str) -> Body:  # noqa: ARG002 - there is one
        extra = {
            "authentication.kubernetes.io/pod-name": ["worker"],
            "authentication.kubernetes.io/pod-uid": ["pod-uid"],
        }
        user = {"username": "system:serviceaccount:tenant:default", "extra": extra}
        return {"authenticated": True, "audiences": [audience], "user": user}

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:  # noqa: ARG002 - all are reads
        self.paths.append(path)
        if path == "/api/v1/namespaces/tenant/pods/worker":
            return self._pod
        namespace, _, name = path.partition("/namespaces/")[2].split("/")
        made = "2026-11-21T00:00:00Z"
        meta = {"namespace": namespace, "name": name, "uid": _RECORDED, "resourceVersion": "1"}
        spec = {"source": {"url": "https://h/a.mp3"}}
        job = {"name": "job", "uid": _RECORDED, "stage": "prepare", "attempt": 1}
        run = {"number": 1, "version": 1, "runHash": "0" * 64, "generation": 1, "spec": spec, "startedAt": made}
        return {"metadata": meta | {"creationTimestamp": made}, "spec": spec, "status": {"run": run | {"job": job}}}


_RECORDED = "recorded"  # a uid that no owner reference of the inputs has


def _recorded() -> WorkerJobs:
    jobs = WorkerJobs(mongomock.MongoClient(tz_aware=True)["db"]["worker_jobs"])
    owner = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="tenant", name="it", uid=_RECORDED)
    made = datetime(2026, 11, 21, tzinfo=UTC)
    blocking(jobs.record)(
        RecordedJob(uid=_RECORDED, name="job", owner=owner, run=1, stage=Stage.PREPARE, attempt=1, created_at=made)
    )
    return jobs


def _owners(value: list[list[Any]]) -> None:
    names = ("apiVersion", "kind", "name", "uid", "controller")
    owners = [dict(zip(names, element, strict=True)) for element in value]
    kube = _Kube(owners)
    try:
        asyncio.run(WorkerAuthenticator(kube, Cache(), _recorded()).assignment("token"))
    except (Unauthenticated, NotAWorker, NotYetRecorded):
        pass
    else:
        raise AssertionError("a pod of a foreign Job is accepted as a worker")
    for path in kube.paths:
        _judge_path(str(URL(f"http://host{path}").raw_path), {"worker"})


def _judge_path(path: str, names: set[str]) -> None:
    root, _, rest = path.partition("/namespaces/")
    namespace, collection, *name = rest.split("/")
    assert root in ("/api/v1", "/apis/batch/v1", f"/apis/{API_VERSION}"), path
    assert namespace == "tenant", path
    assert collection in {"pods", "jobs", *(kind.plural for kind in Kind)}, path
    assert len(name) == 1, path
    assert unquote(name[0]) in names, path
    assert set(unquote(name[0])) <= _ALLOWED, path


_ANY_OWNER = st.tuples(
    st.sampled_from(["batch/v1", "batch/v2", "v1", API_VERSION]) | _HOSTILE,
    st.sampled_from(["Job", *(kind.value for kind in Kind)]) | _HOSTILE,
    _HOSTILE,
    st.just("u") | _HOSTILE,
    st.booleans() | st.none(),
)
_JOB_OWNER = st.tuples(st.just("batch/v1"), st.just("Job"), _HOSTILE, st.just("u"), st.just(True))
OWNERS = FuzzTarget("owners", st.lists((_ANY_OWNER | _JOB_OWNER).map(list), max_size=3), _owners)


# Cursors of the gateway: [text, or the JSON value that the cursor holds; sort]


def _cursors(value: list[Any]) -> None:
    cursor, sort = value
    text = cursor if isinstance(cursor, str) else base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()
    wanted_sort = Sorted(sort)
    try:
        wanted = with_cursor(JobFilter(sort=wanted_sort), text)
    except BadRequest:
        return
    query = page_query(_SCOPE, wanted)
    for key in _all_keys(query.filter):
        assert key in _OPERATORS or key in _FIELDS, key
    bson.encode(query.filter)
    for found in _records().find(query.filter):
        assert found["namespace"] in ("red", "green")


_TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01", "2026-W01-1", "now"])
_HELD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _HOSTILE | _TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_HOSTILE, inner, max_size=2),
    max_leaves=5,
)
_ORDERING = st.sampled_from(
    [f"{JobFilter().list_name}.{each_sorted.value}.{JobFilter().order.value}" for each_sorted in Sorted]
)
CURSORS = FuzzTarget(
    "cursors",
    st.tuples(
        _HOSTILE | _HELD | st.tuples(_ORDERING | _HOSTILE, _HELD, _HELD).map(list),
        st.sampled_from([each_sorted.value for each_sorted in Sorted]),
    ).map(list),
    _cursors,
)

TARGETS = (PATHS, KEYS, FILTERS, PROVIDERS, OWNERS, CURSORS)
