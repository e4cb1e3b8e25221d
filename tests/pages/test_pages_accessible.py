"""axe-core on every page and state of a job, in both themes and three widths; no document is wider than the screen.

A run of axe takes a tenth of a second, so each group of rules runs where its result may differ: rules about structure
on the widest and the narrowest screen, which hides columns and labels; rules about colours once in each theme. Each
state is looked at with one of its causes, and the frame around the pages with the dashboard.
`CONTENTGEN_PAGES=all` (`make test-pages`) runs all rules on every page and cause at each width in both themes.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, Response

from contentgen_contract.advice.job_state import State, state_of_resource
from contentgen_gateway.app import endpoints as gateway_app
from contentgen_gateway.auth import csrf
from contentgen_sandbox.testing import free_port
from contentgen_simulation.gateway.endpoints import endpoints
from contentgen_simulation.gateway.sample_data import job_id
from contentgen_simulation.gateway.sample_states import SampleState, resource_of, sample_states, state_job_id
from contentgen_simulation.showcase import serve

ALL = os.environ.get("CONTENTGEN_PAGES") == "all"
WIDTHS = (1400, 800, 390)
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
COLOURS = ("color-contrast", "link-in-text-block")
_RUN = """async ([where, rules]) => {
    const found = await axe.run(where, {resultTypes: ['violations'], preload: false, ...rules});
    return found.violations.map((each) => [each.id, ...each.nodes.map((node) => node.html.slice(0, 200))]);
}"""
_STRUCTURE = {"rules": {colour: {"enabled": False} for colour in COLOURS}}
_IN_COLOUR = {"runOnly": {"type": "rule", "values": list(COLOURS)}}
_WIDER = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"

LORA, PICTURE, PORTRAIT, TRANSCRIPT, RUNNING = (job_id(number) for number in (1, 10, 14, 30, 50))
COLLECTION = job_id(900)
STATES = {state.name: f"/jobs/{state_job_id(number)}" for number, state in enumerate(sample_states())}


def _state_of(sample: SampleState) -> State:
    body = resource_of(0, sample, {"name": "x", "jobId": "x"}, "2026-11-21T00:00:00Z")
    return state_of_resource(body).state


_ONE_OF_EACH = set({_state_of(state): state.name for state in sample_states()}.values()) | {
    "end-failed-paid",
    "wait-Queued",
}
"""Names of a job in each state, of one with notifications, shares and events, and of one with a long title."""


@dataclass(frozen=True)
class Shown:
    """Page as a caller sees it, or after the form with this end of its action was submitted with these values."""

    path: str
    status: int = 200
    caller: str | None = "ann"
    form: str = ""
    values: dict[str, str] = field(default_factory=dict)


PAGES = {
    "sign-in": Shown("/sign-in?next=/loras", caller=None),
    "sign-in-refused": Shown("/sign-in", 401, None, "/sign-in", {"token": "unknown"}),
    "signed-out": Shown("/sign-in?said=signed-out", caller=None),
    "dashboard": Shown("/"),
    "jobs": Shown("/jobs?namespace=marketing"),
    "jobs-needs-me": Shown("/jobs?state=needs-me"),
    "jobs-none": Shown("/jobs?namespace=nobody"),
    "jobs-refused": Shown("/jobs?status=bogus&namespace=shop", 422),
    "job-lora": Shown(f"/jobs/{LORA}?said=saved"),
    "job-pictures": Shown(f"/jobs/{PICTURE}"),
    "job-read-only": Shown(f"/jobs/{TRANSCRIPT}", caller="bob"),
    "edit-refused": Shown(f"/jobs/{LORA}", 422, form="/edit", values={"tags": "new tag!!"}),
    "delete": Shown(f"/jobs/{PICTURE}/delete"),
    "delete-used": Shown(f"/jobs/{LORA}/delete"),
    "delete-forbidden": Shown(f"/jobs/{TRANSCRIPT}/delete", 403, "bob"),
    "again": Shown(f"/jobs/{LORA}/retry"),
    "again-lost-reply": Shown(f"{STATES['wait-SubmissionUnknown']}/retry"),
    "again-estimate": Shown(f"{STATES['end-estimated']}/retry"),
    "again-paid": Shown(f"{STATES['end-estimated']}/retry?paid=true"),
    "again-not-now": Shown(f"/jobs/{RUNNING}/retry", 409),
    "approve": Shown(f"{STATES['wait-AwaitingApproval']}/approve"),
    "pictures": Shown("/pictures"),
    "picture": Shown(f"/pictures/{PICTURE}?n=2"),
    "picture-portrait": Shown(f"/pictures/{PORTRAIT}"),
    "loras": Shown("/loras"),
    "lora": Shown(f"/loras/{LORA}"),
    "transcripts": Shown("/transcripts"),
    "transcript": Shown(f"/transcripts/{TRANSCRIPT}?q=the+sound"),
    "search": Shown("/search"),
    "search-hits": Shown("/search?q=sound"),
    "search-none": Shown("/search?q=nothingofthekind"),
    "collections": Shown("/collections"),
    "collection": Shown(f"/collections/{COLLECTION}"),
    "collection-refused": Shown(f"/collections/{COLLECTION}", 422, form="/put", values={"job_id": "avatar"}),
    "usage": Shown("/usage?days=7"),
    "given-up": Shown("/given-up"),
    "missing": Shown("/none", 404),
    **{
        f"empty-{path[1:] or 'dashboard'}": Shown(path, caller="carol")  # who may see nothing but a public LoRA
        for path in ("/", "/pictures", "/transcripts", "/collections", "/usage", "/given-up")
    },
    **{name: Shown(path) for name, path in STATES.items()},
}
NO_PAGES = {
    "/health", "/ready", "/favicon.ico", "/static/{version}/{name}", "/files/{job_id}", "/openapi.json",
    "/.well-known/contentgen-webhooks.json", "/api-docs/{file}",
}  # fmt: skip
FOREIGN = {"/api-docs"}
"""Swagger UI, whose page is not ours: `test_the_api_is_shown_from_here_alone`."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """Base URL of a gateway with a job in each state."""
    yield from serve(free_port(), states=True)


@pytest.fixture
def sandbox() -> Iterator[str]:
    """Base URL of a gateway without sign-in."""
    yield from serve(free_port(), gateway_sign_in="None")


@pytest.fixture(scope="module")
def page_of(chromium: Browser, gateway: str) -> Iterator[Callable[[str | None], Page]]:
    """A caller's browser page, shared by the tests of this module."""
    contexts: list[BrowserContext] = []

    @cache
    def made(caller: str | None) -> Page:
        context = chromium.new_context(reduced_motion="reduce")
        context.add_init_script(AXE_SCRIPT)
        contexts.append(context)
        if caller:
            context.add_cookies([{"name": csrf.SESSION, "value": caller, "url": gateway}])
        return context.new_page()

    yield made
    for context in contexts:
        context.close()


def show(page: Page, gateway: str, shown: Shown) -> Response | None:
    """Load a page, submit its form if it has one, and open all that is folded."""
    response = page.goto(gateway + shown.path)
    if shown.form:
        fill = """([end, values]) => {
            const form = document.querySelector(`form[action$="${end}"]`);
            for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
            form.submit();
        }"""
        with page.expect_navigation() as submitted:
            page.evaluate(fill, [shown.form, shown.values])
        response = submitted.value
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    return response


@pytest.mark.parametrize(
    "name", [each_page for each_page in PAGES if ALL or each_page not in STATES or each_page in _ONE_OF_EACH]
)
def test_a_page_fits_and_axe_finds_nothing(page_of: Callable[[str | None], Page], gateway: str, name: str) -> None:
    shown = PAGES[name]
    page = page_of(shown.caller)
    page.emulate_media(color_scheme="light")
    response = show(page, gateway, shown)
    assert response is not None
    assert response.status == shown.status
    found: list[Any] = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 860})
        wide, screen = page.evaluate(_WIDER)
        found += [("too wide", width, wide)] if wide > screen else []
        for theme, where, rules in runs(name, width):
            page.emulate_media(color_scheme=theme)
            found += [(width, theme, *each) for each in page.evaluate(_RUN, [where, rules])]
    assert found == []


def runs(name: str, width: int) -> Iterator[tuple[Theme, str, dict[str, Any]]]:
    """Runs of axe on a page of a width: theme, selector of the part, and options."""
    if ALL:
        yield from ((theme, "html", {}) for theme in THEMES)
        return
    if width == 390 or (width == 1400 and name not in STATES):
        yield "light", "html", _STRUCTURE
    if width == 800:  # a wider screen has a gradient behind the text, on which axe decides nothing
        where = "html" if name == "dashboard" else "#job-head, #job-main" if name in STATES else "main"
        yield from ((theme, where, _IN_COLOUR) for theme in THEMES)


def test_the_warning_of_a_gateway_without_sign_in(page_of: Callable[[str | None], Page], sandbox: str) -> None:
    page = page_of(None)
    page.goto(sandbox)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert page.evaluate(_RUN, ["html", {}]) == []


def test_every_page_of_the_gateway_is_looked_at() -> None:
    routes = {endpoint.path for endpoint in endpoints(gateway_app()) if endpoint.method == "GET"}
    routes = {route for route in routes if not route.startswith("/api/")} - NO_PAGES - FOREIGN
    shapes = {tuple(route.split("/")) for route in routes}
    looked = {tuple(page.path.partition("?")[0].split("/")) for page in PAGES.values()}
    missing = {shape for shape in shapes if not any(_fits(shape, path) for path in looked)}
    assert missing == set()


def _fits(shape: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(shape) == len(path) and all(
        part.startswith("{") or part == given for part, given in zip(shape, path, strict=True)
    )


def test_every_state_of_a_job_has_a_page() -> None:
    assert {_state_of(state) for state in sample_states()} == set(State)


def test_axe_sees_a_fault(page_of: Callable[[str | None], Page], gateway: str) -> None:
    """The script runs under the Content-Security-Policy of the pages, and finds faults of both groups of rules."""
    page = page_of("ann")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 800, "height": 860})
    show(page, gateway, PAGES["usage"])
    page.evaluate("""() => {
        const grey = document.createElement('p');
        grey.textContent = 'grey';
        grey.style.color = '#999';
        document.querySelector('main').append(document.createElement('img'), grey);
    }""")
    assert "image-alt" in {each[0] for each in page.evaluate(_RUN, ["html", _STRUCTURE])}
    assert "color-contrast" in {each[0] for each in page.evaluate(_RUN, ["main", _IN_COLOUR])}
