"""Bodies of `/api/usage` and `/api/assets/stats`."""

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters, Period, UserId
from contentgen_gateway.stores.aggregations import By
from contentgen_gateway.stores.queries import JobFilter


class Whose(Parameters):
    """Query of the totals: namespace and user."""

    namespace: Name | None = Field(None, description="Only jobs of this namespace.")
    user_id: UserId | None = Field(None, description="Only jobs of this user.")


class Stats(Body):
    """Counts and costs; amounts are decimal strings, as in the legacy API."""

    total_jobs: int
    by_type: dict[JobType, int]
    total_storage_gb: str = Field(alias="totalStorageGB", description="Size in GB of 10⁹ bytes.", examples=["2.5"])
    estimated_monthly_cost: str = Field(description="Dollars per month for storage.", examples=["0.06"])


class UsageOf(Whose, Period):
    """Query of the usage report: jobs, period and key."""

    by: By = By.USER
    type: JobType | None = None

    def job_filter(self) -> JobFilter:
        """Filter of the records."""
        return JobFilter(user_id=self.user_id, type=self.type, since=self.begin, until=self.end)


class Usage(Body):
    """Usage of one namespace, user, kind, model or day, or in total. Amounts are decimal strings in dollars."""

    key: str
    jobs: int = Field(description="Number of existing jobs.")
    purchases: int = Field(description="Number of requests to providers, including failed ones.")
    paid: str = Field(description="Cost reported by the providers for finished requests.", examples=["12.5000"])
    estimated: str = Field(
        description="Estimates for finished requests whose cost the provider did not report.", examples=["0.0350"]
    )
    unknown: int = Field(description="Number of purchases of unknown cost, which no amount includes.")
    expected: str = Field(description="Estimates for unfinished requests.", examples=["0.0350"])
    storage_gb: str = Field(alias="storageGB", description="Size in GB of 10⁹ bytes.")
    storage_cost: str = Field(description="Dollars per month.")


class UsageReport(Body):
    """Usage by key: days in order, other keys by cost, highest first."""

    by: By
    currency: str = "USD"
    usage: list[Usage]
    total: Usage
