"""Bodies of `/api/assets/{jobId}/share`."""

import re
from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contentgen_gateway.schemas.bodies import Body, Name
from contentgen_gateway.schemas.refusals import PRINTABLE
from contentgen_gateway.stores.shares import Grantee

UserName = Annotated[str, StringConstraints(pattern=PRINTABLE, max_length=253)]
"""User name in Kubernetes: ann, ann@example.com, system:serviceaccount:blue:robot."""


class Grantees(Body):
    """Users and namespaces."""

    model_config = ConfigDict(extra="forbid")

    users: list[UserName] = Field(default_factory=list, max_length=100, description="Exact user names in Kubernetes.")
    namespaces: list[Name] = Field(
        default_factory=list,
        max_length=100,
        description="Their service accounts, and users who may see such jobs there.",
    )

    def all(self) -> tuple[Grantee, ...]:
        """Distinct grantees, sorted."""
        users = {Grantee("user", user) for user in self.users}
        return tuple(sorted(users | {Grantee("namespace", namespace) for namespace in self.namespaces}))


class Wish(Grantees):
    """Users and namespaces to share with; at least one."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.users and not self.namespaces:
            raise ValueError("at least one of users, namespaces must be given")
        for name in self.users:
            _require_possible_user(name)
        for name in self.namespaces:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"namespaces: not a valid name of a namespace: {name[:_SHOWN]!r}")
        return self


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ACCOUNT = re.compile(rf"system:serviceaccount:{_LABEL.pattern}:[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?")
_GROUP = re.compile(r"system:(authenticated|unauthenticated|masters|nodes|serviceaccounts(:.*)?)")
_SHOWN = 64  # characters of a name


def _require_possible_user(name: str) -> None:
    """Raises ValueError for a name that no user can have. Kubernetes has no list of existing users."""
    if name.startswith("system:serviceaccount:") and not _ACCOUNT.fullmatch(name):
        raise ValueError(f"users: {name[:_SHOWN]!r} must be system:serviceaccount:NAMESPACE:NAME")
    if _GROUP.fullmatch(name):
        raise ValueError(f"users: {name[:_SHOWN]!r} is a group; share it with the namespace, or make it public")


class SharedWith(Body):
    """Share of a job: with a user or with a namespace."""

    user: str | None = None
    namespace: str | None = None
    shared_by: str
    shared_at: datetime


class ShareList(Body):
    """Shares of a job."""

    job_id: str
    shares: list[SharedWith]
