"""Reviews of tokens and of access: objects that are answered and never stored."""

from typing import Any

from contentgen_try.api_server.auth import rights
from contentgen_try.api_server.auth.tokens import AUDIENCE, MASTERS, Caller, Tokens
from contentgen_try.api_server.refusals import Refusal

Body = dict[str, Any]


def review(kind: str, body: Body, caller: Caller, tokens: Tokens) -> Body:
    """The reviewed object. Raises Refusal."""
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise Refusal(400, "spec must be an object")
    match kind:
        case "TokenReview":
            status = _token_review(spec, tokens)
        case "SelfSubjectReview":
            status = {"userInfo": caller.user_info()}
        case "SubjectAccessReview":
            groups = spec.get("groups") or []
            status = _access(Caller(str(spec.get("user") or ""), tuple(str(each_group) for each_group in groups)), spec)
        case "SelfSubjectAccessReview":
            status = _access(caller, spec)
        case _:
            status = _rules(caller)
    group = "authentication" if kind in ("TokenReview", "SelfSubjectReview") else "authorization"
    shown = {name: value for name, value in spec.items() if kind != "TokenReview" or name != "token"}
    about = {"apiVersion": f"{group}.k8s.io/v1", "kind": kind, "metadata": {"creationTimestamp": None}}
    return {**about, "spec": shown, "status": status}


def _token_review(spec: Body, tokens: Tokens) -> Body:
    wanted = spec.get("audiences") or [AUDIENCE]
    found = tokens.caller(str(spec.get("token") or ""), [str(each) for each in wanted])
    if found is None:
        return {"authenticated": False, "error": "the token is invalid, or not for these audiences"}
    caller, audiences = found
    return {"authenticated": True, "user": caller.user_info(), "audiences": list(audiences)}


def _access(caller: Caller, spec: Body) -> Body:
    wanted = spec.get("resourceAttributes")
    if not isinstance(wanted, dict):
        return {"allowed": MASTERS in caller.groups}
    parts = ("verb", "group", "resource", "subresource", "namespace", "name")
    request = rights.Request(**{part: str(wanted.get(part) or "") for part in parts})
    return {"allowed": rights.permits(caller, request)}


def _rules(caller: Caller) -> Body:
    if MASTERS in caller.groups:
        every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        return {"resourceRules": [every], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": False}  # fmt: skip
    rules = [
        {"verbs": sorted(rule.verbs), "apiGroups": [rule.group], "resources": sorted(rule.resources)}
        for rule in rights.rules_of(caller)
    ]
    return {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}
