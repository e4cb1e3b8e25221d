"""Bodies of `/api/usage` and `/api/assets/stats`."""

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, JobType, Moment, Name, Parameters, UserId, instant
from contentgen_gateway.stores.aggregations import By
from contentgen_gateway.stores.queries import JobFilter


class Whose(Parameters):
    """Of which jobs."""

    namespace: Name | None = Field(None, description="Of this namespace alone.")
    user_id: UserId | None = Field(None, description="Of this user alone.")


class Stats(Body):
    """Counts and costs; amounts are decimals in strings, as the first service had them."""

    total_jobs: int
    by_type: dict[JobType, int]
    total_storage_gb: str = Field(alias="totalStorageGB", description="Of 10⁹ bytes.", examples=["2.5"])
    estimated_monthly_cost: str = Field(description="Dollars for the storage.", examples=["0.06"])


class UsageOf(Whose):
    """Of what, and by what."""

    by: By = By.USER
    type: JobType | None = None
    since: Moment | None = Field(None, alias="from", description="Made at this time or later.")
    until: Moment | None = Field(None, alias="to", description="Made before this time.")

    def job_filter(self) -> JobFilter:
        """As a value."""
        return JobFilter(user_id=self.user_id, type=self.type, since=instant(self.since), until=instant(self.until))


class Usage(Body):
    """Of one user, kind, model or day, or of all together. Amounts are decimals in dollars."""

    key: str
    jobs: int = Field(description="Jobs that there are.")
    purchases: int = Field(description="Requests to a provider, those that failed too.")
    paid: str = Field(description="By the providers' figures, for what they have finished.", examples=["12.5000"])
    estimated: str = Field(description="Estimates for what they have finished without telling.", examples=["0.0350"])
    unknown: int = Field(description="Purchases whose cost nobody knows; in none of the amounts.")
    expected: str = Field(description="For what they have not finished.", examples=["0.0350"])
    storage_gb: str = Field(alias="storageGB", description="Of 10⁹ bytes.")
    storage_cost: str = Field(description="A month.")


class UsageReport(Body):
    """Usage by key: days in order, of others the most expensive first."""

    by: By
    currency: str = "USD"
    usage: list[Usage]
    total: Usage
