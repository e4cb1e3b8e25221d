"""Requirements of the operator for an S3 service, and the consequence of each that is not met."""

from enum import StrEnum

from contentgen_contract.base import Value


class Requirement(StrEnum):
    """Ability of a store. Nothing is paid without the first two."""

    REGION = "region"
    CREATE_ONLY = "create_only"
    VERSIONS = "versions"
    BULK_DELETION = "bulk_deletion"
    CHECKSUMS = "checksums"


NEEDED_TO_PAY = frozenset({Requirement.REGION, Requirement.CREATE_ONLY})


class UnmetRequirement(Value):
    """A requirement that the store does not meet, and the consequence."""

    requirement: Requirement
    text: str

    @property
    def stops_payments(self) -> bool:
        """True if nothing is paid."""
        return self.requirement in NEEDED_TO_PAY
