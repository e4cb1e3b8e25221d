"""Bodies of `/api/given-up`."""

from datetime import datetime

from pydantic import Field

from contentgen_contract.advice.permitted_actions import Does
from contentgen_contract.advice.remedies import Action
from contentgen_contract.names import Kind
from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters
from contentgen_gateway.stores.queries import JobFilter, with_cursor

_MOST = 50  # entries of a page: each is read from the API server


class GivenUpListing(Parameters):
    """Query of the list of given-up work."""

    namespace: Name | None = Field(None, description="Only work of this namespace.")
    limit: int = Field(_MOST, ge=1, le=_MOST, description="Entries that a page has at most.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the previous page.")

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        wanted = JobFilter(list_name="given-up", limit=self.limit, ended_without_result=True)
        return with_cursor(wanted, self.cursor)


class RetryOption(Body):
    """A remedy that applies."""

    action: Action
    text: str = Field(description="The remedy, in a sentence.")
    costs: str = Field(description="What the remedy pays.", examples=["pays nothing"])
    command: str | None = Field(description="Command of the kubectl plugin; null if there is none.")


class GivenUp(Body):
    """Failed run that a person can retry, or whose paid result is kept."""

    job_id: str
    namespace: str
    type: JobType
    kind: Kind
    name: str
    user_id: str
    reason: str
    message: str
    paid: str = Field(description="What was paid for the run.", examples=["nothing", "the request"])
    result_kept: bool = Field(description="True if the provider's response is stored: it is collected again for free.")
    cost: str | None = Field(description="Text of the COST column; null if nothing is known.", examples=["$0.0350"])
    request_id: str | None = Field(description="The provider's id of the paid request; null if none is known.")
    failed_at: datetime | None
    remedies: list[RetryOption] = Field(description="Remedies that apply, free ones first.")
    actions: list[Does] = Field(
        default=[], description="Actions of `GET /api/jobs/{jobId}/actions`: permitted, and within the caller's rights."
    )


class GivenUpList(Body):
    """Page of given-up work, newest job first. It may have fewer entries than `limit`, and still a next page."""

    given_up: list[GivenUp]
    next_cursor: str | None = Field(None, description="Value of `cursor` for the next page; null on the last page.")
