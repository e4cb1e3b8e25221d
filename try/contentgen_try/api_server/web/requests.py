"""Requests to resources: verbs, options and responses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contentgen_try.api_server.auth import rights
from contentgen_try.api_server.auth.tokens import Caller, Tokens
from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import PODS
from contentgen_try.api_server.storage.objects import Deletion, How, Objects, Place, Written
from contentgen_try.api_server.storage.patches import APPLY, apply_patch
from contentgen_try.api_server.web.content import answer, read_json, read_object
from contentgen_try.api_server.web.logs import PodLog
from contentgen_try.api_server.web.representation import Representation, representation
from contentgen_try.api_server.web.watches import listed, selected, watch

Body = dict[str, Any]
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_POLICIES = ("Foreground", "Background", "Orphan")
_YES = ("true", "1")


def verb_of(method: str, place: Place, query: Mapping[str, str]) -> str:
    """The verb that rights are about. Raises Refusal 405."""
    verb = _VERBS.get(method)
    if verb == "get" and not place.subresource:
        watching = query.get("watch") in _YES
        verb = "watch" if watching else "get" if place.name else "list"
    if verb == "delete" and not place.name:
        verb = "deletecollection"
    creates = verb == "create" and (place.name == "" or place.subresource == "token")
    fits = creates or (verb != "create" and (bool(place.name) or verb in ("list", "watch", "deletecollection")))
    own = {"log": ("get",), "token": ("create",), "status": ("get", "update", "patch")}.get(place.subresource)
    if verb is None or not fits or verb not in (own or place.kind.verbs):
        raise Refusal(405, "the server does not allow this method on the requested resource")
    return verb


class ResourceRequests:
    """Answers to requests that name a resource."""

    def __init__(self, objects: Objects, tokens: Tokens, logs: Path | None) -> None:
        self._objects = objects
        self._tokens = tokens
        self._logs = logs

    async def answer(self, request: Request, place: Place, caller: Caller) -> Response:  # noqa: PLR0911 - one per verb
        """Response to an authenticated request. Raises Refusal."""
        query = request.query_params
        verb = verb_of(request.method, place, query)
        require(caller, verb, place)
        how = representation(request.headers.get("accept", ""), query.get("includeObject", ""))
        match verb:
            case "get" if place.subresource == "log":
                return self._log(place, query)
            case "get":
                return answer(how.of_object(place.kind, self._get(place)))
            case "list":
                return answer(how.of_list(place.kind, *listed(self._objects.store, place, query)))
            case "watch":
                lines = watch(self._objects.store, place.kind, place, query, how).lines()
                return StreamingResponse(lines, media_type="application/json")
            case "create" if place.subresource == "token":
                return answer(self._tokens.request(place.namespace, place.name, await read_object(request)), 201)
            case "create":
                return _written(place, how, self._objects.create(place, await read_object(request), _how(query)))
            case "update":
                return await self._update(request, place, how)
            case "patch":
                return await self._patch(request, place, how)
            case _:
                return await self._delete(request, place, how)

    def _get(self, place: Place) -> Body:
        return self._objects.store.get(place.kind, place.namespace, place.name)

    def _log(self, place: Place, query: Mapping[str, str]) -> Response:
        store = self._objects.store
        uid = self._get(place)["metadata"]["uid"]

        def find() -> Body | None:
            pod = store.find(PODS, place.namespace, place.name)
            return pod if pod is not None and pod["metadata"]["uid"] == uid else None

        log = PodLog(self._logs, self._get(place), find, query)
        return StreamingResponse(log.parts(), media_type="text/plain")

    async def _update(self, request: Request, place: Place, how: Representation) -> Response:
        given = await read_object(request)
        written = self._objects.change(place, lambda _: given, _how(request.query_params), must_name_version=True)
        return _written(place, how, written)

    async def _patch(self, request: Request, place: Place, how: Representation) -> Response:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip()
        patch = await read_json(request)
        options = _how(request.query_params)
        missing = self._objects.store.find(place.kind, place.namespace, place.name) is None
        if content_type in APPLY and missing and not place.subresource and isinstance(patch, dict):
            metadata = patch.get("metadata")
            named = {**(metadata if isinstance(metadata, dict) else {}), "name": place.name}
            return _written(place, how, self._objects.create(place, {**patch, "metadata": named}, options))
        built_in = place.kind.schema is None
        written = self._objects.change(
            place, lambda old: apply_patch(old, patch, content_type, built_in=built_in), options
        )
        return _written(place, how, written)

    async def _delete(self, request: Request, place: Place, how: Representation) -> Response:
        given = await read_json(request)
        options, dry_run = _deletion(given if isinstance(given, dict) and given else dict(request.query_params))
        if not place.name:
            return self._delete_all(request, place, how, options, dry_run=dry_run)
        last, gone = self._objects.delete(place, options, dry_run=dry_run)
        if not gone:
            return answer(how.of_object(place.kind, last))
        details = {"name": place.name, "kind": place.kind.plural, "uid": last["metadata"]["uid"]}
        details |= {"group": place.kind.group} if place.kind.group else {}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return answer(status)

    def _delete_all(
        self, request: Request, place: Place, how: Representation, options: Deletion, *, dry_run: bool
    ) -> Response:
        matches = selected(place, request.query_params)
        found = [body for body in self._objects.store.all(place.kind, place.namespace) if matches(body)]
        for body in found:
            metadata = body["metadata"]
            one = Place(place.kind, metadata.get("namespace", ""), metadata["name"])
            if self._objects.store.find(*one[:3]) is not None:
                self._objects.delete(one, options, dry_run=dry_run)
        return answer(how.of_list(place.kind, found, {"resourceVersion": str(self._objects.store.version)}))


def require(caller: Caller, verb: str, place: Place) -> None:
    """Raises Refusal 403 unless the caller may do it."""
    kind = place.kind
    wanted = rights.Request(verb, kind.group, kind.plural, place.subresource, place.namespace, place.name)
    if not rights.permits(caller, wanted):
        where = f' in the namespace "{place.namespace}"' if place.namespace else " at the cluster scope"
        shown = f' "{place.name}"' if place.name else ""
        raise Refusal(403, f'{kind.resource}{shown} is forbidden: User "{caller.name}" cannot {verb} resource '
                           f'"{wanted.target}" in API group "{kind.group}"{where}')  # fmt: skip


def _how(query: Mapping[str, str]) -> How:
    return How(dry_run=_dry_run(query.get("dryRun")), validation=query.get("fieldValidation") or "Warn")


def _dry_run(given: Any) -> bool:
    if given in (None, "", []):
        return False
    if given in ("All", ["All"]):
        return True
    raise Refusal(422, f"dryRun: Unsupported value: {str(given)[:50]!r}: supported values: All")


def _deletion(given: Body) -> tuple[Deletion, bool]:
    """Options of a deletion, and whether it is a dry run. Raises Refusal.

    `given`: the body; the query where there is no body, since the API server ignores the query otherwise.
    """
    conditions = given.get("preconditions")
    conditions = conditions if isinstance(conditions, dict) else {}
    policy = given.get("propagationPolicy") or "Background"
    if policy not in _POLICIES:
        raise Refusal(422, f"propagationPolicy: Invalid value: {str(policy)[:50]!r}: must be one of {_POLICIES}")
    grace = given.get("gracePeriodSeconds")
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise Refusal(422, "gracePeriodSeconds: Invalid value: must be a whole number") from error
    dry_run = _dry_run(given.get("dryRun"))
    return Deletion(str(policy), seconds, conditions.get("uid"), conditions.get("resourceVersion")), dry_run


def _written(place: Place, how: Representation, written: Written) -> Response:
    response = answer(how.of_object(place.kind, written.body), 201 if written.created else 200)
    for warning in written.warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{quoted}"'.encode("ascii", "replace").decode())
    return response
