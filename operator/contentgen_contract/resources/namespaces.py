"""Selection of an installation's namespaces: all, a list, or those that match a label selector; the label of a
namespace that requires approvals. Pure.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from contentgen_contract import patterns
from contentgen_contract.base import Manifest
from contentgen_contract.names import APPROVAL_LABEL
from contentgen_contract.resources.spec import Approval

Namespace = Annotated[str, StringConstraints(pattern=patterns.NAMESPACE)]
_Key = Annotated[str, StringConstraints(pattern=patterns.LABEL_KEY, max_length=317)]
_Label = Annotated[str, StringConstraints(pattern=patterns.LABEL_VALUE)]


class Expression(Manifest):
    """A term of a label selector."""

    key: _Key
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[_Label, ...] = ()

    @model_validator(mode="after")
    def _has_values_where_it_needs_them(self) -> "Expression":
        if bool(self.values) != (self.operator in ("In", "NotIn")):
            raise ValueError("values: expected with the operators In and NotIn only")
        return self

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case _:
                return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"


class LabelSelector(Manifest):
    """A Kubernetes LabelSelector with at least one term: an empty one would select all namespaces."""

    match_labels: dict[_Key, _Label] = Field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()

    @model_validator(mode="after")
    def _has_a_term(self) -> "LabelSelector":
        if not self.match_labels and not self.match_expressions:
            raise ValueError("matchLabels or matchExpressions: expected at least one term")
        return self

    def __str__(self) -> str:
        """Value of the request parameter `labelSelector`."""
        equal = (f"{key}={value}" for key, value in sorted(self.match_labels.items()))
        return ",".join([*equal, *map(str, self.match_expressions)])


def requires_approval(labels: Mapping[str, str]) -> bool:
    """True if the labels of a namespace require an approval of each run; a misspelt value does too."""
    return labels.get(APPROVAL_LABEL, Approval.AUTOMATIC) != Approval.AUTOMATIC
