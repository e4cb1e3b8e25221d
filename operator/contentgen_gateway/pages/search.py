"""Page of the search in names, prompts, tags, descriptions and transcripts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contentgen_contract.names import Kind
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS, card
from contentgen_gateway.schemas.listings import SearchListing
from contentgen_gateway.schemas.transcript_search import Mark, TranscriptSearch
from contentgen_gateway.services.jobs import JobPage

_SHOWN = 24
_FIELDS = ("q", "tags", "type", "namespace", "userId", "cursor")

router = APIRouter(route_class=PageRoute)


@router.get("/search")
async def show_results(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[SearchListing, Depends(query_model(SearchListing, limit=_SHOWN))],
) -> Response:
    """Page of search results."""
    chosen = {key: request.query_params.get(key, "") for key in _FIELDS}
    wanted, sought = query.job_filter(), bool(query.q or query.tags)
    scope = await services.jobs.scope(caller, query.namespace, query.user_id)
    page = await services.jobs.page(scope, wanted) if sought else JobPage([], 0, None)
    spoken = None
    if query.q and not query.cursor and query.type in (None, Kind.TRANSCRIPTION.record_type):
        where = {"namespace": query.namespace, "userId": query.user_id}
        transcript_query = TranscriptSearch.model_validate({"q": query.q, "hits": 3, "limit": 10} | where)
        spoken = await services.transcript_search.search(caller, transcript_query)
    return render(
        request,
        "search.html",
        caller,
        find=chosen["q"],
        sought=sought,
        jobs=[card(record) for record in page.records],
        total=page.total,
        following=page.next_cursor,
        spoken=spoken.transcripts if spoken else [],
        highlighted_parts=highlighted_parts,
        chosen=chosen,
        types=[(kind.record_type, LABELS[kind]) for kind in Kind],
        picture=services.files.signed_address,
    )


def highlighted_parts(snippet: str, marks: list[Mark]) -> list[tuple[str, bool]]:
    """Parts of a snippet, each with True if it is a found word."""
    found: list[tuple[str, bool]] = []
    done = 0
    for mark in sorted(marks, key=lambda each: each.offset):
        if mark.offset < done:
            continue
        end = mark.offset + mark.length
        found += [(snippet[done : mark.offset], False), (snippet[mark.offset : end], True)]
        done = end
    return [part for part in (*found, (snippet[done:], False)) if part[0]]
