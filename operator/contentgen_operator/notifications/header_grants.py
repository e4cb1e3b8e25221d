"""Grants of Secrets whose entries are sent as HTTP headers of notifications. Pure.

A namespace's users choose the URL of a notification, so a grant names the hosts that may receive the headers: otherwise
they could have them sent to a host of their own. A grant is for https, unless its host begins with `http://`: the user
chooses the scheme too, and without TLS anybody on the way could read the headers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from contentgen_contract import patterns
from contentgen_contract.base import Value
from contentgen_contract.resources.addresses import host_and_port, split_url
from contentgen_contract.resources.sources import ANY_NAMESPACE

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a header, among the names that a Secret's entry can have
_VALUE = re.compile(r"[!-~]([ -~]{0,4094}[!-~])?")
# Headers of the request's framing, of its content and of the signature.
_RESERVED = re.compile(
    r"(host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|webhook-.*)", re.I
)
MAX_HEADERS = 16


class HeaderGrant(Value):
    """A Secret in the operator's namespace that some namespaces may have sent to some hosts."""

    secret: Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=253)]
    namespaces: tuple[str, ...] = Field(min_length=1, description="Names of namespaces; * matches any.")
    hosts: tuple[str, ...] = Field(
        min_length=1, description="host:port pairs that may receive the headers by https; http://host:port for http."
    )

    @model_validator(mode="after")
    def _hosts_have_ports(self) -> Self:
        for host in self.hosts:
            if not re.fullmatch(r"(http://)?([^\s/@:*]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", host):
                raise ValueError(f"hosts: {host!r}: expected a host with its port, such as hooks.example.com:443")
        return self

    def covers(self, namespace: str, url: str) -> bool:
        """True if a namespace may have the headers sent to a URL."""
        here = ANY_NAMESPACE in self.namespaces or namespace in self.namespaces
        return here and _target(url) in {host.lower() for host in self.hosts}


def _target(url: str) -> str | None:
    parts = split_url(url)
    try:
        port = (parts.port or {"https": 443, "http": 80}.get(parts.scheme)) if parts is not None else None
    except ValueError:
        return None
    if parts is None or not parts.hostname or not port:
        return None
    return ("" if parts.scheme == "https" else f"{parts.scheme}://") + host_and_port(parts.hostname, port)


def grant_refusal(secret: str, namespace: str, url: str, grants: Iterable[HeaderGrant]) -> str:
    """Error text if a namespace may not have a Secret's entries sent to a URL; empty if it may."""
    if any(grant.secret == secret and grant.covers(namespace, url) for grant in grants):
        return ""
    return (
        f"the Secret {secret!r} is not granted to namespace {namespace!r} for this host by the operator's settings "
        "(notifications.headers)"
    )


def headers_problem(headers: Mapping[str, str]) -> str:
    """Error text for headers that cannot be sent; empty if they can. It contains no value."""
    if len(headers) > MAX_HEADERS:
        return f"has more than {MAX_HEADERS} entries"
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            return f"has an entry {name[:64]!r}, which cannot be a header of a notification"
        if not _VALUE.fullmatch(value):
            return f"has an entry {name!r} whose value is empty, too long or not printable ASCII"
    return ""
