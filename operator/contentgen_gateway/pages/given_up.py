"""Page of given-up work: failed jobs that a person can retry, with the remedies and their costs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS, card
from contentgen_gateway.schemas.reports.given_up import GivenUpListing

_SHOWN = 24

router = APIRouter(route_class=PageRoute)


@router.get("/given-up")
async def list_given_up(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[GivenUpListing, Depends(query_model(GivenUpListing, limit=_SHOWN))],
) -> Response:
    """Page of given-up work."""
    chosen = {"namespace": query.namespace or ""}
    found = await services.given_up.list_given_up(caller, query)
    records = await services.jobs.stored(record.job_id for record in found.given_up)
    titles = {shown.job_id: shown.title for shown in map(card, records)}
    return render(request, "given_up.html", caller, found=found, titles=titles, labels=LABELS, chosen=chosen)
