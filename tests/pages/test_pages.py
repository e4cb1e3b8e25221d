"""Browser test of every page: no violation of the CSP, no page wider than the screen, working keys and forms."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Route, expect

from contentgen_gateway.auth import csrf
from contentgen_simulation.gateway import browser
from contentgen_simulation.gateway.sample_data import job_id

LORA, PICTURE, TRANSCRIPT, RUNNING, FAILED = (job_id(number) for number in (1, 10, 30, 50, 40))
PAGES = {
    "dashboard": "/", "jobs": "/jobs", "job": f"/jobs/{RUNNING}", "failed": f"/jobs/{FAILED}", "pictures": "/pictures",
    "picture": f"/pictures/{PICTURE}?n=2", "loras": "/loras", "lora": f"/loras/{LORA}", "transcripts": "/transcripts",
    "transcript": f"/transcripts/{TRANSCRIPT}?q=the+sound", "search": "/search?q=sound", "collections": "/collections",
    "collection": f"/collections/{job_id(900)}", "usage": "/usage", "delete": f"/jobs/{LORA}/delete",
    "missing": "/none",
}  # fmt: skip
WAYS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 390)}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def signed_in(chromium: Browser, gateway: str) -> Iterator[BrowserContext]:
    context = chromium.new_context(reduced_motion="reduce")
    context.add_cookies([{"name": csrf.SESSION, "value": "ann", "url": gateway}])
    yield context
    context.close()


@contextmanager
def complaints(page: Page) -> Iterator[list[str]]:
    """Errors that the browser reports for a page within the context: exceptions and console messages."""
    found: list[str] = []

    def heard(error: Error) -> None:
        found.append(str(error))

    def told(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(message.text)

    page.on("pageerror", heard)
    page.on("console", told)
    yield found
    page.remove_listener("pageerror", heard)
    page.remove_listener("console", told)


@pytest.mark.parametrize("name", PAGES)
def test_each_page_fits_and_the_browser_has_nothing_against_it(
    seen_as: Callable[..., Page], gateway: str, name: str, way: str, kept: Path
) -> None:
    page = seen_as(*WAYS[way])
    with complaints(page) as found:
        page.goto(gateway + PAGES[name])
        page.screenshot(path=kept / f"{name}-{way}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        expect(page.locator("h1")).to_have_count(1)
    # Expected errors: a missing page, a stream that ends with its page, network changes by another test's cluster.
    away = ("404", "ERR_INCOMPLETE_CHUNKED", "ERR_NETWORK_CHANGED")
    assert [each for each in found if not any(known in each for known in away)] == []


@pytest.mark.parametrize("width", [390, 800])
@pytest.mark.parametrize("name", ["usage", "picture", "transcripts", "jobs"])
def test_on_a_narrow_screen_nothing_is_pushed_out(
    seen_as: Callable[..., Page], gateway: str, name: str, width: int
) -> None:
    """Each link of a navigation lies within the screen, no table scrolls, and its first column has room for words."""
    page = seen_as("light", width)
    page.goto(gateway + PAGES[name])
    links = page.locator("nav a")
    expect(links.first).to_be_visible()
    boxes = [box for link in links.all() if (box := link.bounding_box())]
    assert [box for box in boxes if box["x"] < 8 or box["x"] + box["width"] > width - 8] == []
    names = [box for row in page.locator("tbody th:visible").all() if (box := row.bounding_box())]
    assert [box for box in names if box["width"] < 120] == []
    cut = "[...document.querySelectorAll('.table-wrap')].filter((each) => each.scrollWidth > each.clientWidth).length"
    assert page.evaluate(cut) == 0


@pytest.mark.parametrize("width", [1280, 1100, 800, 390])
def test_the_steps_of_a_job_lie_in_one_row_or_one_column(
    seen_as: Callable[..., Page], gateway: str, width: int
) -> None:
    page = seen_as("light", 1280)
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(f"{gateway}/jobs/{LORA}")
    boxes = [box for step in page.locator(".step").all() if (box := step.bounding_box())]
    page.set_viewport_size({"width": 1280, "height": 860})
    assert len(boxes) == 7
    assert 1 in {len({box["x"] for box in boxes}), len({box["y"] for box in boxes})}


@pytest.mark.parametrize(("text", "tries"), [("net::ERR_NETWORK_CHANGED at x", 3), ("net::ERR_CONNECTION_REFUSED", 1)])
def test_a_page_is_loaded_again_where_the_network_changed(
    monkeypatch: pytest.MonkeyPatch, text: str, tries: int
) -> None:
    asked: list[str] = []

    def changing(_page: object, url: str) -> None:
        asked.append(url)
        if len(asked) < 3:
            raise Error(text)

    monkeypatch.setattr(browser, "_GOTO", changing)
    with pytest.raises(Error) if tries == 1 else nullcontext():
        browser.goto(Mock(spec=Page), "x")
    assert len(asked) == tries


def test_signing_in_and_out_and_back_to_where_one_was(chromium: Browser, gateway: str, kept: Path) -> None:
    page = chromium.new_page()
    page.goto(f"{gateway}/loras")
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.screenshot(path=kept / "sign-in-light.png")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    page.keyboard.type("unknown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not a token")
    page.get_by_label("Token", exact=True).fill("dave")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{gateway}/loras")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{gateway}/loras")
    expect(page).to_have_url(re.compile("/sign-in"))
    page.close()


def test_keyboard_reaches_content_search_and_neighbours(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/pictures/{PICTURE}?n=1")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"\?n=2$"))
    page.keyboard.press("/")
    expect(page.get_by_label("Search everything")).to_be_focused()
    page.keyboard.type("harbour")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q=harbour"))
    expect(page.get_by_role("main")).to_contain_text("harbour_style")


@pytest.mark.parametrize(("path", "name"), [(f"/jobs/{LORA}", "jesse_avatar"), ("/", "studio_mug")])
def test_page_follows_changes_after_the_end_and_after_a_refusal(
    signed_in: BrowserContext, gateway: str, path: str, name: str
) -> None:
    """Typed values of a form of the page stay, and opened parts stay open."""
    page, asked = signed_in.new_page(), list[str]()

    def answered(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=503)
        else:
            body = route.fetch(url=f"{gateway}{path}").text()
            route.fulfill(content_type="text/html", body=body.replace(name, "another_name"))

    page.route("**/*seen=*", answered)
    page.clock.install()
    page.goto(f"{gateway}{path}")
    if path != "/":
        page.locator("summary", has_text="Tags and description").click()
        page.get_by_label("Description").fill("typed")
        page.locator("#conditions summary").click()
        page.evaluate("document.getElementById('conditions').dataset.former = ''")
    deadline = time.monotonic() + 60
    while len(asked) < 2:  # the page handles the refusal a little later
        assert time.monotonic() < deadline
        page.clock.run_for(11_000)
        page.wait_for_load_state("networkidle")
    expect(page.get_by_role("main")).to_contain_text("another_name")
    if path != "/":
        expect(page.get_by_label("Description")).to_have_value("typed")
        expect(page.locator("#conditions:not([data-former])[open]")).to_have_count(1)


def test_the_dashboard_shows_spending(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/")
    spent = page.get_by_text("in 14 days").first.inner_text()
    assert spent.startswith("$")
    assert not spent.startswith("$0.00")


def test_filters_work_without_loading_the_page_anew(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/jobs")
    page.evaluate("window.same = true")
    page.get_by_label("State").select_option("failed")
    expect(page.locator("#results")).to_contain_text("3 jobs")
    expect(page).to_have_url(re.compile("state=failed"))
    assert page.evaluate("window.same") is True


def test_words_are_marked_as_they_are_said_and_hits_are_walked(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/transcripts/{TRANSCRIPT}")
    word = page.locator(".w").nth(20)
    word.click()
    expect(page.locator(".w.now")).to_have_count(1)
    page.wait_for_function("document.querySelector('audio').currentTime > 0")
    page.evaluate("document.querySelector('audio').pause()")
    start = float(word.get_attribute("data-start") or 0)
    assert page.evaluate("document.querySelector('audio').currentTime") >= start
    page.get_by_label("Search in this transcript", exact=True).last.fill("the sound")
    expect(page.locator("#found")).to_contain_text("hits")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text("1 of")
    expect(page.locator(".w.chosen")).to_have_count(1)


def test_the_space_key_pauses_after_a_click_on_a_time(signed_in: BrowserContext, gateway: str) -> None:
    """A time that the keyboard has pressed keeps the key: it is a button."""
    page = signed_in.new_page()
    page.goto(f"{gateway}/transcripts/{TRANSCRIPT}")
    seek, paused = page.locator(".seek").nth(1), "document.querySelector('audio').paused"
    seek.click()
    page.wait_for_function(f"!{paused}")
    page.keyboard.press("Space")
    page.wait_for_function(paused)
    seek.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"!{paused}")
    expect(seek).to_be_focused()


def test_a_hit_of_the_search_leads_to_its_place(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/search?q=sound")
    page.locator(".hits .at").first.click()
    expect(page).to_have_url(re.compile(r"#t=[\d.]+$"))
    expect(page.locator(".w.now")).to_be_in_viewport()


def test_dark_is_kept_once_it_is_chosen(signed_in: BrowserContext, gateway: str) -> None:
    page = signed_in.new_page()
    page.goto(f"{gateway}/usage")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_css("color-scheme", "dark")
    expect(page).to_have_url(f"{gateway}/usage")
    page.goto(gateway)
    expect(page.locator("html")).to_have_css("color-scheme", "dark")


def test_without_scripts_pages_and_forms_work_all_the_same(chromium: Browser, gateway: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies([{"name": csrf.SESSION, "value": "ann", "url": gateway}])
    page = context.new_page()
    page.goto(f"{gateway}/jobs")
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#results")).to_contain_text("3 jobs")
    page.goto(f"{gateway}/collections")
    page.get_by_label("Name", exact=True).fill("Without scripts")
    page.get_by_label("Namespace").fill("press")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Without scripts")).to_be_visible()
    context.close()


def test_the_api_is_shown_from_here_alone(chromium: Browser, gateway: str) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with complaints(page) as found:
        page.goto(f"{gateway}/api-docs")
        expect(page.locator(".opblock").nth(30)).to_be_visible()
    assert [text for text in asked if not text.startswith((gateway, "data:"))] == []
    assert found == []
    page.close()
