"""Marks of requests: create-only objects in the bucket that find a purchase by the content of its request. Pure.

One object for each purchase, under a prefix of the operator class, namespace, kind, name and rerun: its key has the
hashes of the request's content and of the tenant's places, so that one LIST finds the purchases of equal requests. A
place is the namespace with its uid, as a restored ledger may lack its binding, or with the scope, which another
namespace or cluster may take over.
"""

import hashlib
import re
from collections.abc import Iterable

from contentgen_contract.records import keys
from contentgen_contract.records.tenancy import scoped
from contentgen_operator.state.purchases import Purchase, PurchaseKey

UNREADABLE = "unreadable"
"""Purchase id of a malformed mark: no ledger has it."""
_HASHES = r"[0-9a-f]{32}(?:-[0-9a-f]{32})*"
_MARK = re.compile(rf"(?P<places>{_HASHES})\.(?P<contents>{_HASHES})\.(?P<id>[A-Za-z0-9][A-Za-z0-9._-]*)\.json")


def marks_prefix(key: PurchaseKey, operator_class: str | None) -> str:
    """Prefix of the marks of all requests of a key's name and rerun."""
    return keys.request_marks(f"{operator_class}/{key.namespace}/{key.kind}/{key.name}/{key.rerun_part}")


def mark_of(key: PurchaseKey, purchase: Purchase) -> str:
    """Key of a purchase's mark. `purchase.content` is not empty."""
    places, contents = _joined(_places(key, purchase)), _joined(purchase.content)
    return f"{marks_prefix(key, purchase.operator_class)}{places}.{contents}.{purchase.purchase_id}.json"


def equal_purchases(marks: Iterable[str], key: PurchaseKey, asked: Iterable[str], planned: Purchase) -> frozenset[str]:
    """Ids of the purchases whose marks share a place and a hash with a request; UNREADABLE for malformed ones.

    `asked`: hashes of the content by which the request is searched. `planned`: a purchase of the request.
    """
    places, hashes = set(map(_short, _places(key, planned))), set(map(_short, asked))
    parsed = [_MARK.fullmatch(mark.rpartition("/")[2]) for mark in marks]
    return frozenset(
        UNREADABLE if found is None else found["id"]
        for found in parsed
        if found is None or (places & set(found["places"].split("-")) and hashes & set(found["contents"].split("-")))
    )


def _places(key: PurchaseKey, purchase: Purchase) -> frozenset[str]:
    return frozenset(scoped(key.namespace, scope) for scope in (key.scope, purchase.namespace_uid))


def _joined(texts: Iterable[str]) -> str:
    return "-".join(sorted(map(_short, texts)))


def _short(text: str) -> str:
    """The first 128 bits of a hash: the other requests of the name are the tenant's own."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
