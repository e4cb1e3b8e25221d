"""Authorization: Kubernetes reviews the caller's rights by namespace and kind, before any data is read."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from contentgen_contract.api_paths import ACCESS_REVIEWS
from contentgen_contract.names import GROUP, Kind
from contentgen_contract.resources.operator_class import CLASS_PLURAL
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.problems import Problem
from contentgen_runtime.caches import TtlCache
from contentgen_runtime.kube import KubeApi

REMEMBERED_SECONDS = 15.0
_REMEMBERED = 65536
_AT_ONCE = 16
AT_ONCE_OF_ONE = 8
"""Concurrent SubjectAccessReviews of one request: half of the limit for all requests."""
_A_TURN = 100  # reviews of one call of `which` that are answered in one turn of the event loop, if all are cached
MOST_REVIEWS = 3000
"""SubjectAccessReviews of one call of `which`: 1,000 namespaces with three kinds each."""
USER_IDS = "userids"  # not a real resource: the verb `use` on it allows naming a user (docs/decisions/0016)
_Asked = tuple[Caller, str, str, str, str]
"""Caller, verb, resource, namespace, name; an empty name stands for any, an empty namespace for the whole cluster."""


class Verb(StrEnum):
    """Verbs of RBAC rules on our kinds. `spend`, for another payment of an existing resource, and `approve`, for the
    payment of a run that waits, are our own.
    """

    GET = "get"
    LIST = "list"
    CREATE = "create"
    PATCH = "patch"
    DELETE = "delete"
    IMPORT = "import"  # our own verb: import of records, of any user whom the caller may name
    SPEND = "spend"
    APPROVE = "approve"
    AUDIT = "audit"  # our own verb, on an OperatorClass: the audit of its installation, which concerns all tenants


class Authorizer:
    """SubjectAccessReviews, cached for 15 s: a revoked right ends within that time."""

    def __init__(
        self, kube: KubeApi, *, open_to_all: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._open = open_to_all
        self._known = TtlCache[_Asked, bool](REMEMBERED_SECONDS, _REMEMBERED, clock)
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def may(self, caller: Caller, verb: Verb, kind: Kind, namespace: str, name: str = "") -> bool:
        """True if the caller has the verb on a kind: in all of a namespace, or on the named resource."""
        return await self._may((caller, verb.value, kind.plural, namespace, name))

    async def may_name(self, caller: Caller, user_id: str, namespace: str) -> bool:
        """True if the caller may create assets of this user.

        It is the check of the chart's ValidatingAdmissionPolicy, which sees only the gateway's own service account.
        """
        return user_id == namespace or await self._may((caller, "use", USER_IDS, namespace, user_id))

    async def may_audit(self, caller: Caller, operator_class: str) -> bool:
        """True if the caller has the verb `audit` on the OperatorClass, which no Role in a namespace can give."""
        return await self._may((caller, Verb.AUDIT.value, CLASS_PLURAL, "", operator_class))

    async def _may(self, asked: _Asked) -> bool:
        if self._open:
            return True
        if (known := self._known.get(asked)) is not None:
            return known
        async with self._asking:
            asked_at = self._known.now()
            answer = await self._kube.request("POST", ACCESS_REVIEWS, body=_review(*asked))
        allowed = bool((answer.get("status") or {}).get("allowed"))
        self._known.put(asked, allowed, asked_at)
        return allowed

    async def which(self, caller: Caller, verb: Verb, namespaces: Iterable[str]) -> dict[str, frozenset[Kind]]:
        """Namespaces and kinds for which the caller has the verb.

        Raises Problem 422 for more namespaces than one request may check.
        """
        return await self.which_of(caller, verb, dict.fromkeys(namespaces, frozenset(Kind)))

    async def which_of(
        self, caller: Caller, verb: Verb, wanted: Mapping[str, frozenset[Kind]]
    ) -> dict[str, frozenset[Kind]]:
        """The same for given kinds by namespace: one SubjectAccessReview for each pair that is not cached."""
        asked = [(namespace, kind) for namespace, kinds in wanted.items() for kind in sorted(kinds)]
        if len(asked) > MOST_REVIEWS:
            raise _too_many_namespaces()
        turn = asyncio.Semaphore(AT_ONCE_OF_ONE)

        async def answered(namespace: str, kind: Kind) -> bool:
            async with turn:
                return await self.may(caller, verb, kind, namespace)

        answers: list[bool] = []
        for start in range(0, len(asked), _A_TURN):
            answers += await asyncio.gather(*(answered(*question) for question in asked[start : start + _A_TURN]))
        found: dict[str, set[Kind]] = {}
        for (namespace, kind), allowed in zip(asked, answers, strict=True):
            if allowed:
                found.setdefault(namespace, set()).add(kind)
        return {namespace: frozenset(kinds) for namespace, kinds in found.items()}


def _too_many_namespaces() -> Problem:
    return Problem(
        422,
        f"namespace: more than {MOST_REVIEWS // len(Kind)} namespaces would have to be checked; name one with "
        "namespace=NAME",
        errors=[{"loc": ["query", "namespace"], "msg": "must be given, because there are too many namespaces"}],
    )


def _review(caller: Caller, verb: str, resource: str, namespace: str, name: str) -> dict[str, object]:
    wanted = {"group": GROUP, "resource": resource, "verb": verb, "namespace": namespace}
    who = {"user": caller.name, "groups": list(caller.groups), "extra": {key: list(each) for key, each in caller.extra}}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": who | {"resourceAttributes": wanted | ({"name": name} if name else {})},
    }
