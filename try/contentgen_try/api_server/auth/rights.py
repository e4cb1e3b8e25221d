"""Rights: the administrator may do everything, three service accounts what their part needs, and others nothing.

There are no RBAC objects; the lists repeat those of the chart (charts/contentgen/templates/rbac.yaml).
"""

from dataclasses import dataclass

from contentgen_contract.names import GROUP, Kind
from contentgen_try.api_server.auth.tokens import MASTERS, Caller

SYSTEM_NAMESPACE = "contentgen"
OPERATOR, GATEWAY, USER = "contentgen", "contentgen-gateway", "contentgen-user"
"""Service accounts of the namespace `contentgen`; the third is for people, who sign in to the gateway with it."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class Request:
    """Action that a caller requests. `namespace` and `name` are empty for all."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def target(self) -> str:
        """The resource with its subresource, as in rules."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests that are permitted; `namespace` is `*` for all."""

    group: str
    resources: frozenset[str]
    verbs: frozenset[str]
    namespace: str = ANY

    def permits(self, request: Request) -> bool:
        """True if the rule permits a request."""
        return (
            request.group == self.group
            and (ANY in self.resources or request.target in self.resources)
            and (ANY in self.verbs or request.verb in self.verbs)
            and self.namespace in (ANY, request.namespace)
        )


def _rule(group: str, resources: str, verbs: str, namespace: str = ANY) -> Rule:
    return Rule(group, frozenset(resources.split()), frozenset(verbs.split()), namespace)


_KINDS = " ".join(kind.plural for kind in Kind)
_STATUS = " ".join(f"{kind.plural}/status" for kind in Kind)
_NAMESPACES = _rule("", "namespaces", "get list watch")
_TOKEN_REVIEWS = _rule("authentication.k8s.io", "tokenreviews", "create")
_RULES = {
    OPERATOR: (
        _NAMESPACES,
        _TOKEN_REVIEWS,
        _rule(GROUP, _KINDS, "get list watch patch"),
        _rule(GROUP, _STATUS, "update"),
        _rule(GROUP, "operatorclasses", "get create"),
        _rule(GROUP, "contentbudgets", "get list"),
        _rule(GROUP, "contentbudgets/status", "update"),
        _rule("batch", "jobs", "get list watch create delete"),
        _rule("", "pods", "get list"),
        _rule("", "pods/log", "get"),
        _rule("", "resourcequotas", "list"),
        _rule("", "events", "create list"),
        _rule("", "secrets", "get patch", SYSTEM_NAMESPACE),
        _rule("coordination.k8s.io", "leases", "get patch create", SYSTEM_NAMESPACE),
        _rule("discovery.k8s.io", "endpointslices", "get patch create", SYSTEM_NAMESPACE),
    ),
    GATEWAY: (
        _NAMESPACES,
        _TOKEN_REVIEWS,
        _rule("authorization.k8s.io", "subjectaccessreviews", "create"),
        _rule(GROUP, _KINDS, "get list watch create patch delete spend approve"),
        _rule(GROUP, "userids", "use"),
        _rule("", "events", "list"),
    ),
    USER: (
        _NAMESPACES,
        _rule(GROUP, ANY, ANY),
        _rule("batch", "jobs", "get list watch"),
        _rule("", "pods pods/log events", "get list watch"),
    ),
}
_ACCOUNTS = {f"system:serviceaccount:{SYSTEM_NAMESPACE}:{name}": rules for name, rules in _RULES.items()}
_FOR_ALL = (
    _rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
    _rule("authentication.k8s.io", "selfsubjectreviews", "create"),
)


def permits(caller: Caller, request: Request) -> bool:
    """True if the caller may do it."""
    return MASTERS in caller.groups or any(rule.permits(request) for rule in rules_of(caller))


def rules_of(caller: Caller) -> tuple[Rule, ...]:
    """Rules of a caller; a caller in the group system:masters needs none."""
    return (*_ACCOUNTS.get(caller.name, ()), *_FOR_ALL)
