"""HTML pages, rendered on the server without a build step.

They call the same services as the API, with the same caller and rights. All pages work without scripts; scripts in
`static/` add live updates. None is inline, which the Content-Security-Policy forbids.
"""

from fastapi import APIRouter

from contentgen_gateway.pages import (
    changes,
    collections,
    given_up,
    home,
    jobs,
    loras,
    pictures,
    problem,
    search,
    sign_in,
    transcripts,
    usage,
)
from contentgen_gateway.pages.rendering import static_files

page = problem.page
"""Renders a Problem as a page."""

router = APIRouter(include_in_schema=False)
for each in (
    static_files,
    sign_in,
    home,
    jobs,
    given_up,
    changes,
    pictures,
    loras,
    transcripts,
    search,
    collections,
    usage,
):
    router.include_router(each.router)
