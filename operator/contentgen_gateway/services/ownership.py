"""Namespace and user of a new job or collection."""

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.problems import BadRequest, Problem
from contentgen_runtime.namespaces import Namespaces


def namespace_of(caller: Caller, given: str | None, selected: Namespaces) -> str:
    """Namespace of a new object: the given one, else the installation's only one, else the service account's own.

    Raises BadRequest if there is none, or if the operator does not watch it: a resource there would wait forever.
    """
    only = selected.names[0] if len(selected.names) == 1 else None
    namespace = given or only or caller.home
    if namespace is None:
        raise BadRequest(
            "namespace", None, "a namespace; you must give one, because only service accounts have a default"
        )
    if namespace not in selected:
        expected = f"{only!r}, the only namespace that" if only else "a namespace that"
        hint = "" if only else "; an administrator adds it by the chart's watchNamespaces or its labels"
        raise BadRequest("namespace", namespace, f"{expected} this installation serves{hint}")
    return namespace


async def require_may_name(authorizer: Authorizer, caller: Caller, user_id: str | None, namespace: str) -> None:
    """Raises Problem 403 if the caller may not create objects of this user; None is always allowed."""
    if user_id is None or await authorizer.may_name(caller, user_id, namespace):
        return
    detail = (
        f"userId: {user_id!r} must be the namespace ({namespace!r}), left out, or a user id for which {caller.name} "
        "has the verb use on userids.contentgen.dev; a Role with that resource name grants it"
    )
    raise Problem(403, detail, errors=[{"loc": ["body", "userId"], "msg": "you may not name this user"}])
