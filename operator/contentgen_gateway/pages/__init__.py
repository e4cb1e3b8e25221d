"""The pages for people: rendered here, without a build step; a browser needs no script for any of them.

What they show comes from the functions of the API's modules, with the same caller and the same rights. Scripts make
them live (`static/`), and none is inline: the Content-Security-Policy forbids it.
"""

from fastapi import APIRouter

from contentgen_gateway.pages import (
    changes,
    collections,
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
"""A Problem as a page."""

router = APIRouter(include_in_schema=False)
for each in (static_files, sign_in, home, jobs, changes, pictures, loras, transcripts, search, collections, usage):
    router.include_router(each.router)
