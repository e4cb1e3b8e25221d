"""Browser test of every gateway page on the real cluster, with a token of Kubernetes.

Screenshots are kept in build/pages as cluster-*.png.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from contentgen_e2e.gateway import Gateway, GatewayTenant, MadeJobs, new_token
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld
from contentgen_simulation.gateway import browser


@pytest.fixture(scope="module")
def chromium(gateway: Gateway, ann: GatewayTenant, made: MadeJobs) -> Iterator[Browser]:
    """Browser that resolves the bucket's host in signed URLs to the forwarded port."""
    pictures = ann.get("/api/assets/images", userId="user123")["images"]
    host = urlsplit(pictures[0]["thumbnailUrl"]).netloc
    rule = f"MAP {host if ':' in host else f'{host}:80'} 127.0.0.1:{gateway.s3_port}"
    browser.SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with browser.chromium(f"--host-resolver-rules={rule}", "--no-proxy-server") as opened:
        yield opened


@pytest.fixture(scope="module")
def token(ann: GatewayTenant) -> str:
    """Separate token, with which the last test signs out."""
    return new_token(ROOT, ann.namespace)


@pytest.fixture(scope="module")
def page(chromium: Browser, gateway: Gateway, token: str) -> Iterator[Page]:
    """Page signed in through the form."""
    context = chromium.new_context(reduced_motion="reduce", viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.goto(f"{gateway.url}/loras")
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{gateway.url}/loras")
    yield page
    context.close()


PAGES = {
    "dashboard": ("/", ["Recent results", "jesse_avatar", "in 14 days"]),
    "jobs": ("/jobs", ["jesse_avatar", "Professional headshot of jf"]),
    "job": ("/jobs/{lora}", ["Contact sheet", "Conditions", "Ready", "Events", "Version 1", "$"]),
    "pictures": ("/pictures", ["Professional headshot of jf"]),
    "picture": ("/pictures/{pictures}", ["Professional headshot of jf", "jesse_avatar"]),
    "loras": ("/loras", ["jesse_avatar", "jf"]),
    "lora": ("/loras/{lora}", ["Versions", "Professional headshot of jf"]),
    "transcripts": ("/transcripts", ["e2e-"]),
    "transcript": ("/transcripts/{transcript}", ["Speaker"]),
    "search": ("/search?q=avatar", ["jesse_avatar"]),
    "collections": ("/collections", ["Collections"]),
    "usage": ("/usage", ["user123", "$"]),
}


@pytest.mark.parametrize("name", PAGES)
def test_each_page_shows_what_was_made(page: Page, gateway: Gateway, made: MadeJobs, name: str) -> None:
    path, words = PAGES[name]
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
    page.goto(gateway.url + path.format(lora=made.lora, pictures=made.pictures, transcript=made.transcript))
    for word in words:
        expect(page.get_by_role("main")).to_contain_text(word)
    for picture in page.locator("main img").all():
        picture.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('main img')].every(each => each.complete && each.naturalWidth)"
    )
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=browser.SCREENSHOTS / f"cluster-{name}.png", full_page=True)
    assert complaints == []
    if name in ("job", "pictures", "picture", "loras", "lora"):
        assert page.locator("main img").count() > 0


def test_progress_moves_on_the_open_page_to_the_end(
    page: Page, gateway: Gateway, ann: GatewayTenant, world: ClusterWorld, film: str
) -> None:
    """The page updates without a reload and then shows the results."""
    # Slow provider: on a busy machine a page may miss a state that lasts a second.
    slow = {"provider": "fal", "model": "fal-ai/flux-lora-fast-training", "fault": "slow_model", "delay_s": 10}
    world.sandbox.put("/sandbox/faults", json=[slow]).raise_for_status()
    body = {"userId": "user123", "videoUrl": film, "loraName": "watched", "triggerWord": "wt", "steps": 300}
    more = {"dataset": {"minImages": 8}, "metadata": {"tags": ["watched"]}}
    job_id = ann.ask("/api/lora/train", body | more)["jobId"]
    page.goto(f"{gateway.url}/jobs/{job_id}")
    bar = page.locator("#job-main progress")
    seen: set[int] = set()
    for _ in range(1200):
        with suppress(Error):  # the page replaces its parts
            seen |= {int(value) for value in bar.evaluate_all("all => all.map(each => each.value)")}
        if page.locator(".title-side", has_text="Completed").count():
            break
        page.wait_for_timeout(100)
    expect(page.get_by_role("heading", name="Contact sheet")).to_be_visible()
    expect(page.locator(".step-done")).to_have_count(page.locator(".step").count())
    assert len(seen) > 1, seen  # the page asks every three seconds


def test_a_file_is_downloaded_and_the_transcript_is_played(page: Page, gateway: Gateway, made: MadeJobs) -> None:
    page.goto(f"{gateway.url}/transcripts/{made.transcript}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download as SRT").click()
    assert " --> " in downloading.value.path().read_text()
    word = page.locator(".w").nth(5)
    word.click()
    expect(page.locator(".w.now")).to_have_count(1)


def test_signed_out_user_sees_nothing(
    page: Page, gateway: Gateway, ann: GatewayTenant, made: MadeJobs, token: str
) -> None:
    """Last test: signing out revokes the token, but not the tenant's other token."""
    page.goto(gateway.url)
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{gateway.url}/jobs/{made.lora}")
    expect(page).to_have_url(re.compile("/sign-in"))
    expect(page.get_by_role("main")).not_to_contain_text("jesse_avatar")
    answer = ann.api.get("/api/jobs", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, "signed out" in answer.text) == (401, True)
    ann.get("/api/jobs")
