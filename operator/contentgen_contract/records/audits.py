"""Reports of the audit, as the operator stores them in the collection `audits` and the gateway returns them."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.names import DEFAULT_ACCOUNT

COLLECTION = "audits"
KEPT = 60
"""Number of reports that are kept."""
MOST_FINDINGS = 500
"""Findings in one report; `counts` has the complete numbers."""


def request_id(operator_class: str) -> str:
    """`_id` of the document that requests an audit of a class's installation; installations may share a database.

    Every other document is a report.
    """
    return f"requested-{operator_class}"


class FindingKind(StrEnum):
    """Kind of a difference between a provider and the ledger."""

    UNKNOWN_REQUEST = "UnknownRequest"
    OTHER_USERS_REQUEST = "OtherUsersRequest"
    MISSING_REQUEST = "MissingRequest"
    NOT_BILLED = "NotBilled"
    AMOUNT_DIFFERS = "AmountDiffers"
    BILLED_TWICE = "BilledTwice"
    PRICE_CHANGED = "PriceChanged"


KINDS: dict[FindingKind, str] = {
    FindingKind.UNKNOWN_REQUEST: "The provider has a request or a bill that is not in the ledger: another user of the "
    "account sent it, or somebody else has the key.",
    FindingKind.OTHER_USERS_REQUEST: "As UnknownRequest, where `audit.sharedAccount` says that others use the "
    "account. No alert.",
    FindingKind.MISSING_REQUEST: "The ledger has a request id that the provider does not know.",
    FindingKind.NOT_BILLED: "A successful request has no bill after `audit.unbilledDays` days.",
    FindingKind.AMOUNT_DIFFERS: "The provider billed another amount than the price table or the ledger gives.",
    FindingKind.BILLED_TWICE: "A request was billed twice, or a second request has the input of a purchase.",
    FindingKind.PRICE_CHANGED: "The unit price of a model differs from the price table. One finding per model and "
    "account.",
}
"""Description of each kind, for documents and people."""


class AuditSubject(StrEnum):
    """Part of an audit that can be read or not."""

    REQUESTS = "requests"
    BILLS = "bills"
    PRICES = "prices"


class Coverage(Value):
    """Whether a part of an account's data could be read. Findings that need a complete list are left out otherwise."""

    provider: str
    account: str = DEFAULT_ACCOUNT
    subject: AuditSubject
    complete: bool
    count: int = 0
    problem: str = ""


class AuditFinding(Value):
    """One difference. It has no input of a request, which may be of another person with the account."""

    kind: FindingKind
    provider: str
    account: str = DEFAULT_ACCOUNT  # provider account that lists the request, or that the purchase names
    model: str = ""
    request_id: str = ""
    purchase_id: str = ""
    namespace: str = ""  # of the purchase, as the next two
    resource_kind: str = ""
    name: str = ""
    at: datetime | None = None  # time of the request or the bill
    billed_micros: int | None = None
    expected_micros: int | None = None
    text: str
    first_seen_at: datetime | None = None  # time of the first report with this finding

    @property
    def identity(self) -> str:
        """Equal in all reports with this finding."""
        account = "" if self.account == DEFAULT_ACCOUNT or self.request_id else f"{self.account}: "
        return f"{self.kind}/{self.provider}/{self.request_id or account + self.text}"


class AuditReport(Value):
    """Result of one audit."""

    report_id: str
    started_at: datetime
    finished_at: datetime
    since: datetime  # begin of the audited time
    request: str | None = None  # token of the request that it answers; None: the daily audit
    purchases: int = 0  # purchases of the time in the ledger
    coverage: tuple[Coverage, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    new: int = 0  # findings that the report before does not have
    findings: tuple[AuditFinding, ...] = ()  # newest first, at most MOST_FINDINGS


class AuditRequest(Value):
    """Request of a person for an audit."""

    token: str
    requested_at: datetime
    requested_by: str = ""
