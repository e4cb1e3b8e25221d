"""Common parts of the pages: sign-in, CSRF tokens, headers, static files, problems, escaping."""

import base64
import hashlib
import html
import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from contentgen_contract.advice.remedies import REASONS
from contentgen_contract.names import Kind, Reason
from contentgen_contract.records.record import legacy_status
from contentgen_gateway import pages
from contentgen_gateway.auth import csrf
from contentgen_gateway.live.watching import ObjectChanged
from contentgen_gateway.pages.rendering import render, static_files
from contentgen_gateway.stores.queries import JobStatus
from contentgen_simulation.gateway import sample_states
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.server import GatewayWorld
from contentgen_simulation.gateway.tenants import TenantApi

ANN = ("ann", "*", "*", "red")
HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
VENDORED = Path(pages.__file__).parent / "rendering/vendored"


class World(GatewayWorld):
    """API server with resources."""

    api_class = TenantApi

    def __init__(self, *rights: tuple[str, str, str, str], **settings: Any) -> None:
        super().__init__(*rights, **settings)
        RecordingBucket().behind(self.dependencies.files)


@pytest.fixture
def world() -> World:
    return World(ANN)


def browser(world: GatewayWorld, session: str | None = "ann", **headers: str) -> httpx.AsyncClient:
    """Client that sends the headers of a browser, with a session cookie."""
    client = world.client(None)
    client.headers.update({"Accept": "text/html"} | headers)
    if session:
        client.cookies.set(csrf.SESSION, session)
    return client


def form_token(page: httpx.Response) -> str:
    """CSRF token of a page."""
    found = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


class Seen(HTMLParser):
    """Parser of tags, attributes and text."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_sign_in_leads_back_to_the_page(world: GatewayWorld) -> None:
    async with browser(world, None) as anybody:
        asked = await anybody.get("/jobs?status=failed")
        form = await anybody.get(asked.headers["location"])
        fields = {"csrf": form_token(form), "token": " an\nn ", "next": "/jobs?status=failed"}
        answer = await anybody.post("/sign-in", data=fields)
        page = await anybody.get(answer.headers["location"])
    assert (asked.status_code, answer.status_code, page.status_code) == (303, 303, 200)
    assert "/jobs?status=failed" in Seen(form).tags[-1][1].values() or "/jobs?status=failed" in form.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{csrf.SESSION}=ann;")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "<h1>Jobs</h1>" in page.text


@pytest.mark.parametrize(("address", "secure"), [("https://gateway.example", True), ("http://10.0.0.1", False)])
async def test_a_session_is_for_tls_alone_wherever_there_is_tls(address: str, secure: bool) -> None:
    world = World(ANN, gateway_url=address)
    async with browser(world, None) as anybody:
        form = await anybody.get("/sign-in")
        visitor = re.search(rf"{csrf.VISITOR}=([\w-]+)", form.headers["set-cookie"])
        assert visitor
        anybody.cookies.set(csrf.VISITOR, visitor[1])
        answer = await anybody.post("/sign-in", data={"csrf": form_token(form), "token": "ann"})
    assert ("Secure" in answer.headers["set-cookie"].split(",")[0]) is secure


@pytest.mark.parametrize("token", ["unknown", "", "x" * 5000, "ü"])
async def test_a_token_that_is_none_is_refused_and_not_kept(world: GatewayWorld, token: str) -> None:
    async with browser(world, None) as anybody:
        fields = {"csrf": form_token(await anybody.get("/sign-in")), "token": token}
        answer = await anybody.post("/sign-in", data=fields)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert csrf.SESSION not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\nx"]
)
async def test_sign_in_redirects_to_no_other_site(world: GatewayWorld, elsewhere: str) -> None:
    async with browser(world, None) as anybody:
        fields = {"csrf": form_token(await anybody.get("/sign-in")), "token": "ann", "next": elsewhere}
        assert (await anybody.post("/sign-in", data=fields)).headers["location"] == "/"


async def test_signing_out_forgets_the_token(world: GatewayWorld) -> None:
    async with browser(world) as ann:
        answer = await ann.post("/sign-out", data={"csrf": form_token(await ann.get("/"))})
    assert answer.status_code == 303
    assert re.search(rf'{csrf.SESSION}="";.*Max-Age=0', answer.headers["set-cookie"])


def jwt(expires: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


async def sign_out(world: GatewayWorld, token: str) -> httpx.Response:
    async with browser(world, token) as person:
        return await person.post("/sign-out", data={"csrf": form_token(await person.get("/sign-in"))})


async def test_a_token_that_was_signed_out_is_worth_nothing_here(world: GatewayWorld) -> None:
    """Neither as a cookie nor as a bearer token, here and at a new replica; another token is accepted."""
    assert (await sign_out(world, "ann")).status_code == 303
    replica = GatewayWorld(ANN, database=world.database)
    for place in (world, replica):
        async with browser(place, "ann", Accept="application/json") as thief, place.client("ann") as program:
            for client in (thief, program):
                answer = await client.get("/api/jobs")
                assert answer.status_code == 401
                assert "signed out" in answer.json()["detail"]
        async with place.client("bob") as bob:
            assert (await bob.get("/api/jobs")).status_code == 200


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


@pytest.fixture
def lenient(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> GatewayWorld:
    """API server that accepts any encoding of ann's token with the same signature bytes."""
    review = world.api.review_token

    async def review_token(token: str, audience: str) -> Any:
        word = token.strip().split(" ")[0]
        return await review("ann" if word.rstrip("=")[:-1] == JWT[:-1] else "unknown", audience)

    monkeypatch.setattr(world.api, "review_token", review_token)
    return world


@pytest.mark.parametrize("same", [f"{JWT} x", f" {JWT}", f"{JWT}\t", f"{JWT[:-1]}V", f"{JWT}="])
async def test_no_other_writing_of_a_signed_out_token_is_taken(lenient: GatewayWorld, same: str) -> None:
    """The API server ignores everything after a space, and unused last bits of a signature."""
    async with lenient.client(JWT) as ann:
        assert (await ann.get("/api/jobs")).status_code == 200
    assert (await sign_out(lenient, JWT)).status_code == 303
    async with lenient.client(same) as somebody:
        assert (await somebody.get("/api/jobs")).status_code == 401


async def test_a_known_token_does_not_vouch_for_another_signature(lenient: GatewayWorld) -> None:
    async with lenient.client(JWT) as ann, lenient.client(f"{JWT}AAAA") as forged:
        assert (await ann.get("/api/jobs")).status_code == 200
        assert (await forged.get("/api/jobs")).status_code == 401


async def test_signed_out_token_is_kept_as_a_digest_until_it_expires() -> None:
    world = GatewayWorld(ANN)
    late, soon = int(datetime.now(UTC).timestamp()) + 3600, 1
    for token in (jwt(soon), jwt(late)):
        await sign_out(world, token)
    (kept,) = world.database["signed-out"].find()
    assert kept["until"] == datetime.fromtimestamp(late, UTC)
    assert "signature" not in repr(kept)


@pytest.mark.parametrize("token", [jwt(10**30), jwt(None), jwt("x"), jwt(-1e308), "a.b.c", "a.e30.c", "a.bnVsbA.c"])
async def test_token_with_any_expiry_can_be_signed_out(token: str) -> None:
    world = GatewayWorld(ANN)
    async with world.client(token) as thief:
        assert (await thief.get("/api/jobs")).status_code == 200
        assert (await sign_out(world, token)).status_code == 303
        assert (await thief.get("/api/jobs")).status_code == 401


async def test_invalid_token_signs_out_nothing(world: GatewayWorld) -> None:
    assert (await sign_out(world, "unknown")).status_code == 303
    assert world.database["signed-out"].find_one() is None


async def test_a_browser_forgets_its_token_while_mongodb_is_away(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ServerSelectionTimeoutError("no server")

    monkeypatch.setattr(type(world.database["signed-out"]), "update_one", away)
    answer = await sign_out(world, "ann")
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "ServerSelectionTimeoutError" in caplog.text


@pytest.mark.parametrize("given", [None, "", "0" * 64])
async def test_a_form_without_its_token_changes_nothing(world: GatewayWorld, given: str | None) -> None:
    async with browser(world) as ann:
        answer = await ann.post("/theme", data={"theme": "dark"} | ({"csrf": given} if given is not None else {}))
        mine = await ann.post("/theme", data={"theme": "dark", "csrf": form_token(await ann.get("/"))})
    assert (answer.status_code, mine.status_code) == (403, 303)
    assert render.THEME in mine.headers["set-cookie"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "header",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}, {"Origin": "http://[x"}],
)
async def test_form_of_another_site_changes_nothing_even_with_a_token(
    world: GatewayWorld, header: dict[str, str]
) -> None:
    async with browser(world) as ann:
        fields = {"theme": "dark", "csrf": form_token(await ann.get("/"))}
        assert (await ann.post("/theme", data=fields, headers=header)).status_code == 403
        assert (await ann.post("/theme", data=fields, headers={"Origin": "http://gateway"})).status_code == 303


async def test_another_browsers_token_is_worth_nothing(world: GatewayWorld) -> None:
    async with browser(world) as ann, browser(world, "bob") as bob:
        fields = {"theme": "dark", "csrf": form_token(await bob.get("/"))}
        assert (await ann.post("/theme", data=fields)).status_code == 403


async def test_pages_without_sign_in_have_a_warning() -> None:
    world = World(gateway_sign_in="None")
    async with browser(world, None) as anybody, browser(World(ANN)) as ann:
        assert "Sign-in is off" in (await anybody.get("/")).text
        assert "Sign-in is off" in (await anybody.get("/none")).text
        assert "Sign-in is off" not in (await ann.get("/")).text


@pytest.mark.parametrize("path", ["/", "/jobs", "/sign-in", "/none"])
async def test_a_page_runs_no_script_but_ours_and_is_kept_by_nobody(world: GatewayWorld, path: str) -> None:
    async with browser(world) as ann:
        page = await ann.get(path)
    policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["img-src"] == "'self' http://s3.test"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert page.headers["cache-control"] == "no-store"
    seen = Seen(page)
    assert not [tag for tag, named in seen.tags if "style" in named or any(name.startswith("on") for name in named)]
    assert all(named.get("src") for tag, named in seen.tags if tag == "script")
    assert len([tag for tag, _ in seen.tags if tag == "h1"]) == 1
    assert {"main"} <= {tag for tag, _ in seen.tags}


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/{}"])
async def test_a_hostile_name_is_text(world: GatewayWorld, path: str) -> None:
    for number, (kind, status) in enumerate(itertools.product(Kind, JobStatus)):
        job = hostile(world, number, kind, status)
        async with browser(world) as ann:
            page = await ann.get(path.format(job))
        assert page.status_code == 200
        tags = Seen(page).tags
        assert not [tag for tag, named in tags if tag == "img" and named.get("src") == "x"]
        assert all((named.get("src") or "").startswith("/static/") for tag, named in tags if tag == "script")
        assert not [name for _, named in tags for name in named if name.startswith("on")]


def hostile(world: GatewayWorld, number: int, kind: Kind, status: JobStatus) -> str:
    """Job with script injection in every text."""
    config = {"loraName": HOSTILE, "prompt": HOSTILE, "trigger": HOSTILE, "model": HOSTILE}
    more: dict[str, Any] = {"metadata": {"tags": [HOSTILE], "description": HOSTILE}, "userId": HOSTILE, "name": HOSTILE}
    more |= {"reason": HOSTILE, "error": HOSTILE, "message": HOSTILE, "stage": HOSTILE, "cost": {"display": HOSTILE}}
    return world.job(number, kind, config=config, status=status.value, sourceVideo={"filename": HOSTILE}, **more)


async def test_a_failure_says_what_it_means_and_what_to_do(world: GatewayWorld) -> None:
    async with browser(world) as ann:
        for number, reason in enumerate(each for each in Reason if each is not Reason.CANCELLED):
            job = world.job(number, status="failed", phase="Failed", reason=reason.value, error=None)
            seen = Seen(await ann.get(f"/jobs/{job}"))
            assert REASONS[reason].meaning in seen.text
            assert REASONS[reason].advice.replace("NAME", f"lora/job-{number}") in seen.text


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        ({"actual": "1.00", "total": "4.00", "unknown": 0}, "all runs: $4.00"),
        ({"actual": "1.00", "total": "4.00", "unknown": 2}, "all runs: $4.00 + 2 unknown"),
        ({"actual": "", "total": "4.00"}, "all runs: $4.00"),
        ({"actual": "1.00", "total": "1.0"}, None),
        ({"actual": "", "total": ""}, None),
        ({"actual": [], "total": {"nan": 1}}, None),
    ],
)
async def test_a_jobs_page_has_the_cost_of_all_runs(
    world: GatewayWorld, cost: dict[str, Any], shown: str | None
) -> None:
    job = world.job(1, cost={"display": "$1.00", "currency": "USD"} | cost)
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
    assert re.findall(r"all runs: [^<]*", page) == ([shown] if shown else [])


async def test_a_foreign_jobs_page_looks_like_a_missing_ones(world: GatewayWorld) -> None:
    job = world.job(1)
    async with browser(world, "bob") as bob, browser(world) as ann:
        foreign, missing = await bob.get(f"/jobs/{job}"), await bob.get("/jobs/none")
        assert (await ann.get(f"/jobs/{job}")).status_code == 200
    assert foreign.status_code == missing.status_code == 404
    hide = re.compile(r'"X-CSRF-Token": "\w+"|value="\w{64}"')
    assert hide.sub("", foreign.text.replace(job, "X")) == hide.sub(
        "", missing.text.replace("/none", "/X").replace("&#39;none&#39;", "&#39;X&#39;")
    )


async def test_the_queue_shows_what_runs_where_its_reader_may_list(world: GatewayWorld) -> None:
    running = {"status": "processing", "phase": "Processing", "reason": "Processing", "progress": 40}
    mine = world.job(1, **running)
    other = world.job(2, namespace="blue", **running)
    async with browser(world) as ann, browser(world, "bob") as bob:
        asked, foreign = await ann.get("/"), await bob.get("/")
    assert mine in asked.text
    assert other not in asked.text
    assert mine not in foreign.text
    assert "1 job running" in asked.text


async def test_a_program_gets_a_problem_and_a_person_a_page(world: GatewayWorld) -> None:
    async with browser(world) as ann:
        page, problem = await ann.get("/jobs?status=odd"), await ann.get("/api/jobs?status=odd")
    assert page.status_code == problem.status_code == 422
    assert page.headers["content-type"].startswith("text/html")
    assert problem.headers["content-type"] == "application/problem+json"
    assert "The filter is not used." in page.text
    assert "<h1>Jobs</h1>" in page.text


async def test_filters_that_are_left_empty_filter_nothing(world: GatewayWorld) -> None:
    jobs = [world.job(number) for number in range(3)]
    world.job(9, Kind.TRANSCRIPTION)
    async with browser(world) as ann:
        page = await ann.get("/jobs?type=lora-training&status=&namespace=&userId=&from=&to=&order=asc")
    assert re.findall(r'href="/jobs/([\w-]{36})"', page.text) == jobs
    assert "3 jobs" in page.text


async def test_files_are_immutable_under_their_hash_only(world: GatewayWorld) -> None:
    async with browser(world, None) as anybody:
        mine = await anybody.get(static_files.address("app.css"))
        plain = await anybody.get(static_files.address("app.css"), headers={"Accept-Encoding": "identity"})
        old = await anybody.get("/static/0000000000000000/app.css")
        none = await anybody.get(f"/static/{static_files.digest()}/parts.py")
    assert "immutable" in mine.headers["cache-control"]
    assert (mine.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert mine.content == plain.content == old.content
    assert old.headers["cache-control"] == "no-cache"
    assert none.status_code == 404


def test_vendored_files_equal_their_hashes_and_have_licences() -> None:
    lines = [line.split("  ") for line in (VENDORED / "CHECKSUMS").read_text().splitlines()]
    present = {str(path.relative_to(VENDORED)) for path in VENDORED.rglob("*") if path.is_file()} - {"CHECKSUMS"}
    assert {name for _, name in lines} == present
    for digest, name in lines:
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, name
    assert {"htmx.LICENSE", "inter.LICENSE", "icons/LICENSE"} <= present


@pytest.mark.parametrize(("number", "text"), [(1, "position 1 of 2"), (2, "position 2 of 2"), (3, None)])
async def test_a_queued_jobs_page_shows_its_position(world: GatewayWorld, number: int, text: str | None) -> None:
    """The third one is not in the queue any more."""
    for each_number in (1, 2, 3):
        job = world.job(each_number, Kind.IMAGE_GENERATION, status="processing", phase="Submitting", reason="Queued")
        status = {"phase": "Submitting", "reason": "Queued" if each_number < 3 else "Submitted"}
        run = {"startedAt": f"2026-11-01T12:0{each_number}:00Z", "spec": {}}
        metadata = {
            "name": f"job-{each_number}", "namespace": "red", "uid": job, "resourceVersion": "1", "generation": 1,
            "creationTimestamp": f"2026-11-01T12:0{each_number}:00Z",
        }  # fmt: skip
        body = {"metadata": metadata, "spec": {}, "status": status | {"run": run}}
        world.api.resources["red", Kind.IMAGE_GENERATION.plural, f"job-{each_number}"] = body
        world.dependencies.live.add(Kind.IMAGE_GENERATION, body)
    async with browser(world) as ann:
        page = await ann.get(f"/jobs/00000000-0000-4000-8000-{number:012}")
    assert page.status_code == 200
    shown = re.findall("It waits for its turn: ([^<]+)", page.text)
    assert shown == ([] if text is None else [f"{text} in this namespace&#39;s queue for fal."])


ESTIMATED = {"phase": "Completed", "reason": "Estimated", "progress": 100, "cost": {"display": "~$0.14"}}
WAITING = {"phase": "AwaitingApproval", "reason": "AwaitingApproval", "progress": 50, "message": "it waits"}


def with_resource(world: World, status: dict[str, Any], **spec: Any) -> str:
    """Job with a resource of this status."""
    ended = status["phase"] in ("Completed", "Failed")
    job = world.job(1, Kind.IMAGE_GENERATION, status="cancelled" if ended else "processing", **status)
    metadata = {
        "name": "job-1", "namespace": "red", "uid": job, "resourceVersion": "1", "generation": 1,
        "creationTimestamp": "2026-11-01T12:00:00Z",
    }  # fmt: skip
    run = {"number": 1, "version": 1, "runHash": "h", "generation": 1, "startedAt": "2026-11-01T12:00:00Z", "spec": {}}
    body = {"metadata": metadata, "spec": spec, "status": status | {"observedGeneration": 1, "run": run}}
    world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"] = body
    return job


async def test_estimate_ticks_no_paid_step_and_links_the_paid_run(world: World) -> None:
    job = with_resource(world, ESTIMATED, dryRun="Estimate")
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
        again, paid = (await ann.get(f"/jobs/{job}/retry")).text, (await ann.get(f"/jobs/{job}/retry?paid=true")).text
        pressed = await ann.post(
            f"/jobs/{job}/retry", data={"csrf": re.findall(r'value="(\w{64})"', paid)[0], "run": "2", "paid": "true"}
        )
    assert re.search(r'<span class="status status-info"><svg.*?</svg>Estimated</span>', page, re.DOTALL)
    assert re.findall(r'<li class="step step-(\w+)"', page)[-2:] == ["skipped", "skipped"]
    assert f'href="/jobs/{job}/retry?paid=true"' in page
    assert "nothing is paid, and nothing is made" in again
    assert "Pay and run" not in again
    assert 'name="paid" value="true"' in paid
    assert pressed.status_code == 303
    assert not world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"]["spec"].get("dryRun")


async def test_run_waiting_for_approval_is_static_and_filterable(world: World) -> None:
    job = with_resource(world, WAITING)
    async with browser(world) as ann:
        pages = [(await ann.get(path)).text for path in (f"/jobs/{job}", "/jobs?state=needs-me", "/")]
        others = (await ann.get("/jobs?state=running")).text
    for page in pages:
        assert "Waiting for approval" in page
        assert job in page
        assert "status-active" not in page
        assert "step-now" not in page
    assert job not in others
    assert "1 job needs you" in pages[2]


async def test_the_advice_of_a_failure_stands_once_and_applies(world: World) -> None:
    """Nothing was paid, so there is no result to fetch; and the commands name the job."""
    job = with_resource(world, {"phase": "Failed", "reason": "JobFailed", "message": "the pod was killed"})
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"status": "failed", "createdAt": datetime.now(UTC)}})
    async with browser(world) as ann:
        page, home = [html.unescape((await ann.get(path)).text) for path in (f"/jobs/{job}", "/")]
    assert page.count("What to do") == page.count("Check memory and disk of the node") == 1
    assert page.count("kubectl contentgen retry imagegen/job-1") == 1
    assert "contentgen collect" not in page
    assert "kubectl contentgen retry imagegen/job-1" in home
    assert "NAME" not in page + home


async def test_next_attempt_of_a_notification_has_a_usual_time(world: World) -> None:
    job = with_resource(world, ESTIMATED)
    (given, *_) = sample_states.beside(job, datetime.now(UTC))["notifications"]
    world.database["notifications"].insert_one(given)
    shown = []
    async with browser(world) as ann:
        for after in (timedelta(hours=2, minutes=5), timedelta(minutes=-5)):
            world.database["notifications"].update_one({}, {"$set": {"nextAt": datetime.now(UTC) + after}})
            shown += re.findall(r"next attempt (?:<time[^>]*>)?([\w ]+)<", (await ann.get(f"/jobs/{job}")).text)
    assert shown == ["in 2 h", "is due"]


async def test_the_jobs_page_is_sorted_over_all_its_pages(world: World) -> None:
    moment = datetime(2026, 11, 2, tzinfo=UTC)
    for number in range(65):
        world.job(number, name=f"same-{number % 2}", updatedAt=moment)
    seen: list[str] = []
    async with browser(world) as ann:
        following = "sort=name&order=asc"
        while following:
            page = (await ann.get(f"/jobs?{following}")).text
            assert '<option value="name" selected>Name</option>' in page
            assert '<th scope="col">Created</th>' in page
            seen += re.findall(r'<a href="/jobs/([^"]+)">', page)
            more = re.search(r'rel="next" href="\?([^"]+)"', page)
            following = html.unescape(more[1]) if more else ""
        updated = (await ann.get("/jobs?sort=updatedAt")).text
    expected = sorted(world.database["jobs"].find(), key=lambda each: (each["name"], each["jobId"]))
    assert seen == [record["jobId"] for record in expected]
    assert '<th scope="col">Updated</th>' in updated
    assert f'datetime="{moment.isoformat()}"' in updated or "2 Nov" in updated


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Processing"])
async def test_a_job_that_is_being_deleted_offers_nothing(world: World, phase: str) -> None:
    job = with_resource(world, {"phase": phase, "reason": "JobFailed" if phase == "Failed" else phase})
    body = world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"]
    body["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"status": legacy_status(phase)}})
    world.dependencies.live.apply(Kind.IMAGE_GENERATION, ObjectChanged(body))
    async with browser(world) as ann:
        token = form_token(await ann.get("/collections"))
        await ann.post("/collections", data={"csrf": token, "name": "c", "namespace": "red"})
        paths = ("/", "/jobs", "/jobs?state=deleting", f"/jobs/{job}")
        pages = {path: (await ann.get(path)).text for path in paths}
    for path, page in pages.items():
        assert re.search(r'<span class="status status-neutral"><svg.*?</svg>Deleting</span>', page, re.DOTALL), path
        assert not re.search(r"</svg>(Completed|Failed|Running)</span>", page), path
    assert "It is being deleted: nothing can be changed." in pages[f"/jobs/{job}"]
    assert '<form class="form"' not in pages[f"/jobs/{job}"]
    for told in ("No results yet", "No failures"):
        assert told in pages["/"]


@pytest.mark.parametrize("path", ["/jobs/{}", "/"])
async def test_a_page_that_has_not_changed_is_not_sent_again(world: World, path: str) -> None:
    """The page of an ended job and the dashboard ask again, and show what has changed since."""
    job = with_resource(world, ESTIMATED, dryRun="Estimate")
    async with browser(world) as ann:
        page = (await ann.get(path.format(job))).text
        (again,) = re.findall(rf'hx-get="({re.escape(path.format(job))}\?seen=\w+)"', page)
        unchanged = await ann.get(again)
        world.database["jobs"].update_one({"jobId": job}, {"$set": {"status": "completed", "reason": "Completed"}})
        body = world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"]
        body["status"]["reason"] = "Completed"
        body["metadata"]["resourceVersion"] = "2"
        changed = await ann.get(again)
    assert (unchanged.status_code, changed.status_code) == (204, 200)
    assert "Completed" in changed.text or "1 in total" in changed.text


@pytest.mark.parametrize(("right", "shown"), [("get", False), ("*", True)])
async def test_only_buttons_that_the_viewer_may_press_are_shown(right: str, shown: bool) -> None:
    world = World(("ann", right, "*", "red"))
    job = with_resource(world, ESTIMATED, dryRun="Estimate")
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
        confirmation = await ann.get(f"/jobs/{job}/delete")
    for part in ("/retry", "/delete", "/edit", "/share"):
        assert (f"{job}{part}" in page) is shown, part
    assert confirmation.status_code == (200 if shown else 403)


async def test_a_refused_form_keeps_its_page_and_the_typed_values(world: World) -> None:
    job = with_resource(world, ESTIMATED, dryRun="Estimate")
    async with browser(world) as ann:
        token = form_token(await ann.get(f"/jobs/{job}"))
        fields = {"csrf": token, "tags": "a, <new>!", "description": "kept <b>"}
        refused = await ann.post(f"/jobs/{job}/edit", data=fields)
        cancelled = await ann.post(f"/jobs/{job}/cancel", data={"csrf": token})
        foreign = await ann.post(f"/jobs/{job}/edit", data=fields | {"csrf": "0" * 64})
    assert refused.status_code == 422
    assert 'value="a, &lt;new&gt;!" aria-invalid="true" aria-describedby="w-tags"' in refused.text
    assert 'value="kept &lt;b&gt;"' in refused.text
    assert "Nothing was changed." in refused.text
    assert '<nav aria-label="Pages">' in refused.text
    assert cancelled.status_code == 409
    assert f'hx-get="/jobs/{job}?seen=' in cancelled.text
    assert foreign.status_code == 403
    assert "kept" not in foreign.text, "another site may have typed it"


@pytest.mark.parametrize(("path", "way"), [("/nope", "/"), ("/jobs/none", "/jobs"), ("/jobs/Bad!", "/jobs")])
async def test_a_page_that_is_not_there_has_navigation_and_a_way_back(world: World, path: str, way: str) -> None:
    async with browser(world) as ann:
        await ann.get("/")
        page = await ann.get(path)
    assert page.status_code == 404
    assert '<nav aria-label="Pages">' in page.text
    assert f'<a class="button primary" href="{way}">' in page.text
    assert "Not Found" not in page.text


async def test_invalid_filter_shows_its_error_and_the_others_apply(world: World) -> None:
    world.job(1)
    async with browser(world) as ann:
        page = await ann.get("/jobs?type=transcription&namespace=Not+a+name")
    assert page.status_code == 422
    assert 'value="Not a name" aria-invalid="true"' in page.text
    assert "No matching jobs" in page.text


async def test_a_message_stands_once_and_times_are_relative(world: World) -> None:
    told = "a long message of the operator"
    condition = {"status": "True", "reason": "R", "message": told, "lastTransitionTime": "2026-11-01T12:00:00Z"}
    status = {"phase": "Processing", "reason": "Processing", "message": told, "progress": 60}
    job = with_resource(world, status)
    body = world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"]
    body["status"]["conditions"] = [condition | {"type": word} for word in ("Ready", "Stalled", "Dataset")]
    body["status"]["conditions"][2]["lastTransitionTime"] = "not a time"
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
    assert page.lower().count(told) == 1
    assert '<time datetime="2026-11-01T12:00:00+00:00"' in page
    assert "2026-11-01T12:00:00Z" not in page
    assert "kubectl get" not in page
