"""Pages of pictures, LoRAs, transcripts, search, collections and usage, and their forms."""

import re
from pathlib import Path

import httpx
import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.models import SHORT_NAMES
from contentgen_gateway.auth import csrf
from contentgen_gateway.pages.rendering.turns import SpeakerTurn, SpokenWord, turns
from contentgen_gateway.pages.search import highlighted_parts
from contentgen_gateway.pages.transcripts import _colours
from contentgen_gateway.pages.usage import bars
from contentgen_gateway.schemas.reports.usage import Usage
from contentgen_gateway.schemas.transcript_search import Mark
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.verification import OwnedKey
from contentgen_simulation.gateway.sample_data import HOSTILE, job_id
from contentgen_simulation.showcase import Showcase

LORA, PICTURE, TRANSCRIPT, RUNNING, FAILED = (job_id(number) for number in (1, 10, 30, 50, 40))
COLLECTION = job_id(900)
PAGES = (
    "/", "/jobs", "/pictures", f"/pictures/{PICTURE}?n=2", "/loras", f"/loras/{LORA}", "/transcripts",
    f"/transcripts/{TRANSCRIPT}?q=sound", "/search", "/search?q=harbour", "/search?q=sound", "/search?tags=podcast",
    "/collections", f"/collections/{COLLECTION}", "/usage", "/usage?days=7",
    *(f"/jobs/{each}" for each in (LORA, PICTURE, TRANSCRIPT, RUNNING, FAILED)), f"/jobs/{LORA}/delete",
    f"/jobs/{LORA}/retry",
)  # fmt: skip


SHRINK = 8  # the pictures are named on the pages, and not looked at


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Showcase:
    return Showcase(tmp_path_factory.mktemp("bucket"), "http://gateway", shrink=SHRINK)


@pytest.fixture
def fresh(tmp_path: Path) -> Showcase:
    """World that a test may change."""
    return Showcase(tmp_path, "http://gateway", shrink=SHRINK)


def browser(world: Showcase, session: str = "ann") -> httpx.AsyncClient:
    client = world.client(None)
    client.headers.update({"Accept": "text/html"})
    client.cookies.set(csrf.SESSION, session)
    return client


async def fill(client: httpx.AsyncClient, page: str, action: str, **fields: str) -> httpx.Response:
    """Submit a form of a page as a browser would; fails if the page has no such form."""
    shown = (await client.get(page)).text
    assert f'action="{action}"' in shown, f"{page} has no form for {action}"
    found = re.search(r'name="csrf" value="(\w+)"', shown)
    assert found
    return await client.post(action, data={"csrf": found[1], **fields})


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_has_one_heading_labels_and_no_script_but_ours(world: Showcase, path: str) -> None:
    async with browser(world) as ann:
        page = await ann.get(path)
    assert page.status_code == 200
    assert page.text.count("<h1") == 1
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert HOSTILE not in page.text
    assert not re.search(r"<script(?! defer src=\"/static/)", page.text)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page.text)
    for field in re.findall(r'<(?:input|select)[^>]*\sid="([^"]+)"', page.text):
        assert f'for="{field}"' in page.text, field
    assert not re.search(r"<img(?![^>]*\salt=)", page.text)


@pytest.mark.parametrize("path", [path for path in PAGES if "000000000" in path])
async def test_invisible_asset_looks_missing(world: Showcase, path: str) -> None:
    async with browser(world, "carol") as carol:
        page = await carol.get(path)
        missing = await carol.get(re.sub(r"[0-9a-f-]{36}", "none", path))
    public = 403 if path.endswith(("/retry", "/delete")) else 200  # LORA is: carol may see it, and pay for nothing
    assert page.status_code == (public if LORA in path else 404)
    assert missing.status_code == 404


async def test_a_picture_names_its_prompt_its_lora_and_its_neighbours(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get(f"/pictures/{PICTURE}?n=2")).text
        beyond = await ann.get(f"/pictures/{PICTURE}?n=9")
    assert "Professional headshot of jf" in page
    assert re.search(rf'href="/loras/{LORA}">[^<]+</a> <span class="meta">version 1 × 0.8</span>', page)
    assert '$0.14 <span class="meta">for 4 pictures</span>' in page, "the cost is that of the run"
    assert {'rel="prev"', 'rel="next"'} <= set(re.findall(r'rel="\w+"', page))
    assert beyond.status_code == 404


async def test_lora_page_has_versions_dataset_and_uses(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get(f"/loras/{LORA}")).text
    assert "Version 2" in page
    assert "Version 1" in page
    assert f'href="/pictures/{PICTURE}"' in page
    assert "a photo of jf" in page
    assert "Too dark" in page


async def test_loras_are_searched_and_models_of_pictures_chosen(world: Showcase) -> None:
    async with browser(world) as ann:
        loras, pictures = (await ann.get("/loras")).text, (await ann.get("/pictures")).text
        found = (await ann.get("/search?type=lora-training&q=jf")).text
    assert 'name="type" value="lora-training"' in loras
    assert f'href="/loras/{LORA}"' in found
    models = re.findall(r'<option value="([^"]+)"></option>', pictures)
    assert models == list(SHORT_NAMES[Kind.IMAGE_GENERATION])
    assert 'name="model" type="text" value="" placeholder="flux-lora" list="known-model"' in pictures


async def test_given_up_work_has_the_title_of_its_job(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get("/given-up")).text
    assert f'<h2><a href="/jobs/{FAILED}">night_walk</a></h2>' in page
    assert '<span class="mono">shop/lora-40</span>' in page


async def test_pictures_of_a_job_lead_to_their_pages(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{PICTURE}")).text
    links = re.findall(rf'<a href="(/pictures/{PICTURE}\?n=\d+)"><img', page)
    assert links == [f"/pictures/{PICTURE}?n={n}" for n in range(1, 5)]


async def test_a_training_set_can_be_judged_on_its_page(world: Showcase) -> None:
    """Whole pictures with their captions, the rejected frames, the archive, and the sets of older versions."""
    async with browser(world) as ann:
        page = (await ann.get(f"/loras/{LORA}")).text
        older = (await ann.get(f"/loras/{LORA}?version=1")).text
    (frames,) = re.findall(r'<ul class="strip frames">(.*?)</ul>', page, re.DOTALL)
    assert frames.count("<li>") == len(re.findall(r'<li><a href="([^"]+)"><img src="\1"', frames)) > 0
    (rejected,) = re.findall(r"<details[^>]*><summary>Rejected frames one by one.*?</details>", page, re.DOTALL)
    assert rejected.count('<th scope="row">') == 9
    assert f'href="/files/{LORA}?file=dataset.zip&amp;version=2"' in page
    assert 'href="?version=1#dataset"' in page
    assert "version 1: " in older
    assert f"/files/{LORA}?file=dataset.zip&amp;version=1" in older


@pytest.mark.parametrize(("job", "told"), [(LORA, True), (PICTURE, False)])
async def test_the_form_that_shares_a_lora_says_where_it_can_be_used(world: Showcase, job: str, told: bool) -> None:
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
        world.database["jobs"].update_many({}, {"$unset": {"uses": ""}})
        lora = (await ann.get(f"/loras/{LORA}")).text
    assert f'action="/jobs/{job}/share"' in page
    assert ("Only ImageGenerations of the namespace marketing can use the LoRA; elsewhere, download" in page) is told
    assert "Refer to it in an ImageGeneration of the namespace " in lora


async def test_transcript_page_has_words_with_times_and_all_forms(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get(f"/transcripts/{TRANSCRIPT}")).text
        text = await ann.get(f"/files/{TRANSCRIPT}?file=transcript.srt")
    version = world.database["jobs"].find_one({"jobId": TRANSCRIPT})["versions"][0]
    assert len(re.findall(r'class="w" data-start="[\d.]+"', page)) == version["wordCount"]
    assert {f"transcript.{form}" for form in ("txt", "srt", "vtt", "json")} <= set(re.findall(r"transcript\.\w+", page))
    assert "audio.flac" in page
    assert text.status_code == 303
    assert "transcript.srt" in text.headers["location"]


async def test_a_recording_without_speech_says_so(fresh: Showcase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transcript.json may be the provider's error, and its text is an empty line."""
    stored = {"transcript.json": b'{"status": "error", "words": null}', "transcript.txt": b"\n"}

    async def read(_files: BucketFiles, key: OwnedKey, _most: int) -> bytes | None:
        return stored[key.rpartition("/")[2]]

    monkeypatch.setattr(BucketFiles, "read", read)
    fresh.database["jobs"].update_one({"jobId": TRANSCRIPT}, {"$set": {"versions.0.wordCount": 0}})
    async with browser(fresh) as ann:
        page = (await ann.get(f"/transcripts/{TRANSCRIPT}")).text
    assert "No words were recognized in this recording." in page
    assert "audio.flac" in page
    assert 'class="transcript"' not in page


@pytest.mark.parametrize(("name", "limit"), [("transcript.json", 8 * 2**20), ("transcript.txt", 2**20)])
async def test_a_transcript_that_is_too_large_is_downloaded_instead(
    world: Showcase, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    """Plain text replaces a JSON file that is too large; oversized files are not read."""
    size, read = BucketFiles.size, BucketFiles.read
    large = {"transcript.json", name}

    async def told(files: BucketFiles, key: OwnedKey) -> int | None:
        return (
            (limit if key.endswith(name) else 2**40) + 1 if key.rpartition("/")[2] in large else await size(files, key)
        )

    async def refused(files: BucketFiles, key: OwnedKey, most: int) -> bytes | None:
        assert key.rpartition("/")[2] not in large
        assert files.parsing.locked(), "two at once would be more than the memory limit of the container"
        return await read(files, key, most)

    monkeypatch.setattr(BucketFiles, "size", told)
    monkeypatch.setattr(BucketFiles, "read", refused)
    async with browser(world) as ann:
        page = await ann.get(f"/transcripts/{TRANSCRIPT}")
    assert page.status_code == 200
    assert "too large to be shown" in page.text
    assert 'class="w"' not in page.text
    assert ('class="said-by plain"' in page.text) == (name == "transcript.json")


async def test_many_speakers_do_not_hold_up_a_page() -> None:
    said = [SpeakerTurn(f"speaker {number}", (SpokenWord("a", 0, first=True, spaced=True),)) for number in range(100)]
    assert set(_colours(said).values()) == {1, 2, 3, 4, 5, 6}
    assert len(_colours(said)) == 100


async def test_found_words_have_their_place(world: Showcase) -> None:
    async with browser(world) as ann:
        page = (await ann.get("/search?q=sound")).text
    assert "<mark>sound</mark>" in page
    assert re.search(rf'href="/transcripts/{TRANSCRIPT}\?q=sound#t=[\d.]+"', page)


async def test_list_omits_absent_values_and_names_kinds_consistently(world: Showcase) -> None:
    async with browser(world) as ann:
        found = (await ann.get("/search?q=the+sound")).text
        nothing = (await ann.get("/search?q=nowhere")).text
        spent = (await ann.get("/usage")).text
    assert "Said in recordings" in found
    assert "0 jobs" not in found
    assert "0 jobs" in nothing
    assert '<th scope="row" class="break">LoRA training</th>' in spent
    assert ">lora-training<" not in spent


async def test_forms_change_a_job_and_a_collection(fresh: Showcase) -> None:
    job = f"/jobs/{PICTURE}"
    async with browser(fresh) as ann:
        assert (await fill(ann, job, f"{job}/edit", tags="one, two", description="new")).status_code == 303
        assert (await fill(ann, job, f"{job}/share", users="carol")).status_code == 303
        assert "carol" in (await ann.get(job)).text
        async with browser(fresh, "carol") as carol:
            assert (await carol.get(job)).status_code == 200
            assert "Stop sharing" not in (await carol.get(job)).text
        assert (await fill(ann, job, f"{job}/unshare", users="carol")).status_code == 303
        made = await fill(ann, "/collections", "/collections", name="Mine <b>", namespace="marketing")
        place = made.headers["location"].partition("?")[0]
        assert (await fill(ann, job, f"{job}/collect", collection=place.rpartition("/")[2])).status_code == 303
        assert "Mine &lt;b&gt;" in (await ann.get(place)).text
        assert f'value="{PICTURE}"' in (await ann.get(place)).text
        assert (await fill(ann, place, f"{place}/take", job_id=PICTURE)).status_code == 303
        assert (await fill(ann, place, f"{place}/delete")).status_code == 303
        assert (await ann.get(place)).status_code == 404
    metadata = fresh.database["jobs"].find_one({"jobId": PICTURE})["metadata"]
    assert (metadata["tags"], metadata["description"]) == (["one", "two"], "new")


async def test_used_asset_is_deleted_only_after_a_confirmation(fresh: Showcase) -> None:
    page = f"/jobs/{LORA}/delete"
    async with browser(fresh) as ann:
        assert "Professional headshot of jf" in (await ann.get(page)).text
        assert (await fill(ann, page, page)).status_code == 409
        assert (await fill(ann, page, page, force="true")).status_code == 303
        assert (await ann.get(f"/jobs/{LORA}")).status_code == 404


@pytest.mark.parametrize("action", ["cancel", "retry", "resume", "edit", "share", "unshare", "collect", "delete"])
async def test_a_form_of_a_signed_in_browser_needs_its_token(world: Showcase, action: str) -> None:
    async with browser(world) as ann:
        answer = await ann.post(f"/jobs/{PICTURE}/{action}", data={"users": "eve", "force": "true"})
        api = await ann.delete(f"/api/jobs/{PICTURE}")
    assert answer.status_code == api.status_code == 403
    assert world.database["jobs"].find_one({"jobId": PICTURE, "discard": None})


def test_turns_are_what_one_says_until_another_does() -> None:
    def word(text: str, start: int, speaker: str | None) -> str:
        told = "null" if speaker is None else f'"{speaker}"'
        return f'{{"text": "{text}", "start": {start}, "end": {start + 100}, "speaker": {told}}}'

    said = turns(f'{{"words": [{word("Hi", 0, "A")}, {word("you", 200, "A")}, {word("Yes", 1500, "B")}]}}'.encode())
    assert said
    assert [(turn.speaker, turn.start, [each_word.text for each_word in turn.words]) for turn in said] == [
        ("A", 0.0, ["Hi", "you"]),
        ("B", 1.5, ["Yes"]),
    ]


def said_at(start: str) -> bytes:
    return b'{"words": [{"text": "a", "start": %s, "end": 1}]}' % start.encode()


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"words": null}', b'{"words": [1]}', b'{"words": [{"text": 1}]}',
     said_at("NaN"), said_at("1e400"), said_at("1" + "0" * 400), b'{"words": ' + b"[" * 100_000],
    ids=lambda document: document[:50],
)  # fmt: skip
def test_transcript_without_times_has_no_turns(document: bytes) -> None:
    assert turns(document) is None


def test_a_snippet_is_cut_at_its_marks() -> None:
    marks = [Mark(offset=4, length=5), Mark(offset=6, length=2), Mark(offset=12, length=4)]
    assert highlighted_parts("the sound of wood", marks) == [
        ("the ", False),
        ("sound", True),
        (" of", False),
        (" woo", True),
        ("d", False),
    ]


def test_days_without_spending_have_a_bar_too() -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    day = Usage(
        key="2026-11-20",
        jobs=1,
        purchases=1,
        paid="2.0000",
        estimated="0",
        unknown=0,
        expected="0",
        storage_gb="0",
        storage_cost="0",
    )
    made = bars([day], datetime(2026, 11, 21, tzinfo=UTC), 3)
    assert [bar.height for bar in made] == [1.0, 160.0, 1.0]
    assert [bar.y + bar.height for bar in made] == [160.0] * 3
