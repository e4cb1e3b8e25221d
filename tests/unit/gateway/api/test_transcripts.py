"""`/api/search/transcripts`: hits with times, indexing, removal from the index, visibility."""

import asyncio
import json
import unicodedata
from typing import Any

import pytest
from bson.errors import InvalidDocument
from pydantic import ValidationError
from pymongo.errors import AutoReconnect, BulkWriteError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.searching import conditions
from contentgen_gateway.live.watching import ObjectChanged, ObjectDeleted
from contentgen_gateway.services import transcript_search
from contentgen_gateway.services.transcript_search import marked
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.queries import Query
from contentgen_gateway.transcripts import splitting
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_gateway.transcripts.passages import Passage, _Transcript, passages
from contentgen_simulation.gateway.server import GatewayWorld, resource, session

SOUND = Kind.TRANSCRIPTION


def answer(*sentences: str, speaker: str | None = "A") -> bytes:
    """Transcript of a provider, with words of half a second."""
    words, clock = [], 0
    for sentence in sentences:
        for text in sentence.split():
            words.append({"text": text, "start": clock, "end": clock + 500, "speaker": speaker, "confidence": 0.9})
            clock += 500
        clock += 3000
    return json.dumps({"id": "x", "status": "completed", "text": " ".join(sentences), "words": words}).encode()


class Bucket(BucketFiles):
    """Bucket in memory."""

    def __init__(self) -> None:
        place = {"bucket": "assets", "region": "us-east-1", "endpoint": "http://s3.test"}
        super().__init__(**place, public_endpoint=None, session=session())
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []

    async def read(self, key: str, limit: int) -> bytes | None:
        assert self.parsing.locked(), "two at once would be more than the memory limit of the container"
        self.reads.append(key)
        found = self.objects.get(key)
        return found if found is None or len(found) <= limit else None


class World(GatewayWorld):
    """World with transcripts and one indexer."""

    def __init__(self) -> None:
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
        self.bucket = Bucket()
        self.indexer = Indexer(self.dependencies.records, self.bucket, self.dependencies.transcripts)

    def said(self, number: int, *sentences: str, version: int = 1, **fields: Any) -> str:
        """jobId of a finished transcription."""
        job = f"00000000-0000-4000-8000-{number:012}"
        key = keys.prefix(SOUND, Stage.COLLECT, "ann", job, version) + "transcript.json"
        self.bucket.objects[key] = answer(*sentences)
        made = {"version": version, "transcriptUrl": f"http://s3.test/assets/{key}", "textUrl": None}
        if version > 1:
            self.database["jobs"].update_one({"jobId": job}, {"$push": {"versions": made}})
            return job
        return self.job(number, SOUND, versions=[made], sourceVideo={"filename": f"{number}.mp3"}, **fields)

    async def search(self, who: str = "ann", **asked: Any) -> dict[str, Any]:
        """Response of a search."""
        async with self.client(who) as client:
            found = await client.get("/api/search/transcripts", params=asked)
        assert found.status_code == 200, found.text
        given: dict[str, Any] = found.json()
        return given

    async def jobs(self, who: str = "ann", **asked: Any) -> list[str]:
        """jobIds of the transcripts found."""
        return [transcript["jobId"] for transcript in (await self.search(who, **asked))["transcripts"]]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_hit_has_its_time_and_a_snippet(world: World) -> None:
    job = world.said(
        1, "We saw the wildfires from the hills above the town, all through that night.", "Then it rained."
    )
    await world.indexer.update_all()
    (found,) = (await world.search(q="WILDFIRE"))["transcripts"]
    assert (found["jobId"], found["transcriptId"], found["fileName"], found["hitCount"]) == (job, job, "1.mp3", 1)
    (hit,) = found["hits"]
    assert (hit["start"], hit["end"], hit["speaker"]) == (0.0, 7.0, "A")
    (mark,) = hit["marks"]
    assert hit["snippet"][mark["offset"] : mark["offset"] + mark["length"]] == "wildfires"


async def test_all_words_must_be_said_in_one_passage(world: World) -> None:
    one = world.said(1, "A lighthouse by the sea.")
    world.said(2, "A lighthouse. " + "And so on and on it went for a very long time indeed, as it does.", "The sea.")
    await world.indexer.update_all()
    assert await world.jobs(q="sea lighth") == [one]
    assert await world.jobs(q="lighthouse se") == [one]
    assert await world.jobs(q="lighth by") == [], "only the last word may be a beginning"
    assert await world.jobs(q="nothing") == []


async def test_the_newest_comes_first_and_pages_hold_each_once(world: World) -> None:
    made = [world.said(number, f"It is about number {number} and trains.", "More trains.") for number in range(7)]
    await world.indexer.update_all()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await world.search(q="trains", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [transcript["jobId"] for transcript in page["transcripts"]]
        cursor = page["nextCursor"]
    assert seen == made[::-1]


async def test_passages_of_what_is_private_by_now_tell_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is updated later, so total and cursor must not reveal such passages."""
    monkeypatch.setattr(transcript_search, "_READ", 5)
    made = [world.said(number, *[f"Trains {'and so on ' * 12}." for _ in range(3)], metadata={"isPublic": True})
            for number in range(6)]  # fmt: skip
    await world.indexer.update_all()
    private = {"$set": {"metadata.isPublic": False}}
    world.database["jobs"].update_many({"jobId": {"$in": [*made[:3], made[5]]}}, private)
    first = await world.search("bob", q="trains", public="true", limit=2)
    assert [transcript["jobId"] for transcript in first["transcripts"]] == [made[4], made[3]]
    assert first["nextCursor"] is None
    one = await world.search("bob", q="trains", public="true", limit=1)
    assert [transcript["jobId"] for transcript in one["transcripts"]] == [made[4]]
    two = await world.search("bob", q="trains", public="true", limit=1, cursor=one["nextCursor"])
    assert ([transcript["jobId"] for transcript in two["transcripts"]], two["nextCursor"]) == ([made[3]], None)


async def test_a_search_gives_up_where_too_much_is_private_by_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_search, "_READ", 2)
    monkeypatch.setattr(transcript_search, "_ROUNDS", 3)
    for number in range(6):
        world.said(number, "Trains.", metadata={"isPublic": True})
    await world.indexer.update_all()
    world.database["jobs"].update_many({}, {"$set": {"metadata.isPublic": False}})
    found = await world.search("bob", q="trains", public="true")
    assert (found["transcripts"], found["nextCursor"], found["incomplete"]) == ([], None, True)


async def test_page_limit_leads_to_the_next_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript_search, "_READ", 5)
    made = [world.said(number, *[f"Trains {'and so on ' * 12}." for _ in range(3)]) for number in range(4)]
    await world.indexer.update_all()
    seen: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await world.search(q="trains", **({"cursor": cursor} if cursor else {}))
        seen += [(transcript["jobId"], transcript["hitCount"]) for transcript in page["transcripts"]]
        cursor = page["nextCursor"]
    assert seen == [(job, 3) for job in made[::-1]]


async def test_search_finds_only_visible_transcripts(world: World) -> None:
    mine = world.said(1, "Our secret plan.")
    theirs = world.said(2, "Their secret plan.", namespace="blue", userId="bob")
    await world.indexer.update_all()
    assert await world.jobs(q="secret") == [mine]
    assert await world.jobs("bob", q="secret") == [theirs]
    assert await world.jobs("bob", q="secret", namespace="red") == []
    assert await world.jobs("eve", q="secret") == []
    assert await world.jobs(q="secret", userId="bob") == []


async def test_foreign_transcripts_are_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        world.said(number, "A secret plan.", namespace=("red", "blue")[number % 2])
    await world.indexer.update_all()
    read: list[str] = []
    find = TranscriptIndex.find

    async def noted(index: TranscriptIndex, query: Query, most: int) -> list[dict[str, Any]]:
        found = await find(index, query, most)
        read.extend(each["namespace"] for each in found)
        return found

    monkeypatch.setattr(TranscriptIndex, "find", noted)
    await world.search(q="secret")
    await world.search("eve", q="secret", namespace="red")
    assert read == ["red"] * 4


async def test_public_transcript_is_found_until_it_is_private(world: World) -> None:
    job = world.said(1, "Our open plan.", metadata={"isPublic": True})
    await world.indexer.update_all()
    assert await world.jobs("bob", q="open", public="true") == [job]
    assert await world.jobs("bob", q="open") == []
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"metadata.isPublic": False}})
    assert await world.jobs("bob", q="open", public="true") == [], "before the index knows"
    reads = len(world.bucket.reads)
    await world.indexer.update_all()
    assert [transcript["metadata"]["isPublic"] for transcript in world.database["transcripts"].find()] == [False]
    assert len(world.bucket.reads) == reads, "nothing was said that is new"


async def test_a_transcript_is_indexed_once(world: World) -> None:
    world.said(1, "Once.", "Upon a time.")
    for _ in range(3):
        await world.indexer.update_all()
    assert len(world.bucket.reads) == 1
    before = list(world.database["transcripts"].find())
    world.database["transcripts-indexed"].delete_many({})
    await world.indexer.update_all()
    assert list(world.database["transcripts"].find()) == before


async def test_transcript_indexed_by_another_rule_is_indexed_again(world: World) -> None:
    world.said(1, "Zażółć.")
    await world.indexer.update_all()
    world.database["transcripts"].update_many({}, {"$set": {"terms": ["zażołc"]}})
    world.database["transcripts-indexed"].update_many({}, {"$unset": {"format": ""}})
    await world.indexer.update_all()
    assert await world.jobs(q="zazolc")
    assert len(world.bucket.reads) == 2


async def test_a_new_version_takes_the_place_of_the_old_one(world: World) -> None:
    job = world.said(1, *[f"The first {number} {'and so on ' * 12}." for number in range(4)])
    await world.indexer.update_all()
    world.said(1, "The second.", version=2)
    await world.indexer.update(job)
    assert await world.jobs(q="first") == []
    (found,) = (await world.search(q="second"))["transcripts"]
    assert found["version"] == 2
    assert world.database["transcripts"].count_documents({}) == 1


@pytest.mark.parametrize("how", ["deleted", "discarded"])
async def test_deleted_transcript_is_not_found_and_then_removed(world: World, how: str) -> None:
    job = world.said(1, "Gone with the wind.")
    await world.indexer.update_all()
    assert await world.jobs(q="wind") == [job]
    if how == "deleted":
        world.database["jobs"].delete_one({"jobId": job})
    else:
        world.database["jobs"].update_one({"jobId": job}, {"$set": {"discard": {"uid": job}}})
    assert await world.jobs(q="wind") == []
    assert world.database["transcripts"].count_documents({}) == 1
    await world.indexer.update_all()
    assert [world.database[name].count_documents({}) for name in ("transcripts", "transcripts-indexed")] == [0, 0]


async def test_a_walk_goes_over_all_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentgen_gateway.transcripts.indexer._PAGE", 3)
    made = [world.said(number, "Walking.") for number in range(8)]
    await world.indexer.update_all()
    assert await world.jobs(q="walking") == made[::-1]
    world.database["jobs"].delete_many({"jobId": {"$in": [made[0], made[4], made[7]]}})
    await world.indexer.update_all()
    assert world.database["transcripts"].count_documents({}) == 5


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"words": 1}', b'{"words": [{"text": "\\ud800"}]}', b"x" * 50])
async def test_file_without_a_transcript_is_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    world.said(1, "It.")
    (key,) = world.bucket.objects
    world.bucket.objects = {} if content is None else {key: content}
    for _ in range(2):
        await world.indexer.update_all()
    assert world.bucket.reads == [key]
    assert world.database["transcripts"].count_documents({}) == 0


@pytest.mark.parametrize("url", ["http://s3.test/assets/runs/j/1/provider-1.json", "https://elsewhere/a.json", 7, None])
async def test_only_a_jobs_own_output_is_read(world: World, url: object) -> None:
    world.job(1, SOUND, versions=[{"version": 1, "transcriptUrl": url}])
    await world.indexer.update_all()
    assert world.bucket.reads == []


def breaks(world: World, monkeypatch: pytest.MonkeyPatch, hostile: str, error: Exception) -> None:
    """The database refuses the passages of one job."""
    replace = TranscriptIndex.replace

    async def refused(index: TranscriptIndex, job_id: str, *rest: Any) -> None:
        if job_id == hostile:
            raise error
        await replace(index, job_id, *rest)

    monkeypatch.setattr(TranscriptIndex, "replace", refused)


@pytest.mark.parametrize("error", [InvalidDocument("too large"), BulkWriteError({"writeErrors": []}), KeyError("x")])
async def test_unindexable_transcript_does_not_stop_the_walk(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, hostile, last = (world.said(number, "A walk.") for number in range(3))
    breaks(world, monkeypatch, hostile, error)
    await world.indexer.update_all()
    assert await world.jobs(q="walk") == [last, first]


async def test_a_walk_stops_where_the_database_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every further job would wait for the same timeout of the database."""
    first, last = (world.said(number, "A walk.") for number in range(2))
    breaks(world, monkeypatch, first, AutoReconnect())
    with pytest.raises(AutoReconnect):
        await world.indexer.update_all()
    assert await world.dependencies.transcripts.mark(last) is None


async def test_unindexable_transcript_does_not_end_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile, other = (world.said(number, "An end.") for number in range(2))
    looked = asyncio.Event()
    look = Indexer.update

    async def broken(indexer: Indexer, job_id: str) -> None:
        if job_id == hostile:
            raise InvalidDocument("too large")
        await look(indexer, job_id)
        looked.set()

    async def no_walk(_: Indexer) -> None:
        raise InvalidDocument("too large")

    monkeypatch.setattr(Indexer, "update", broken)
    monkeypatch.setattr(Indexer, "update_all", no_walk)
    for each in (hostile, other):
        world.indexer._queue.put_nowait(each)
    running = asyncio.create_task(world.indexer.run())
    seen = asyncio.create_task(looked.wait())
    await asyncio.wait({running, seen}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done()
    assert looked.is_set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_end_and_a_deletion_are_looked_at_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentgen_gateway.transcripts.indexer._UPDATE_DELAYS", (0.0,))
    monkeypatch.setattr("contentgen_gateway.transcripts.indexer._FULL_UPDATE_SECONDS", 3600)
    index, walked, walk = world.dependencies.transcripts, asyncio.Event(), Indexer.update_all
    world.dependencies.live._on_end = world.indexer.schedule

    async def walks(indexer: Indexer) -> None:
        await walk(indexer)
        walked.set()

    monkeypatch.setattr(Indexer, "update_all", walks)

    async def until(*, there: bool) -> None:
        async with asyncio.timeout(60):
            while (await index.mark(job) is not None) is not there:  # noqa: ASYNC110 - a database has no event
                await asyncio.sleep(0.01)

    running = asyncio.create_task(world.indexer.run())
    await asyncio.wait_for(walked.wait(), 60)  # the next walk is an hour away
    job = world.said(1, "Soon.")
    world.dependencies.live.apply(SOUND, ObjectChanged(resource(SOUND, job, phase="Completed")))
    await until(there=True)
    world.database["jobs"].delete_one({"jobId": job})
    world.dependencies.live.apply(SOUND, ObjectDeleted(resource(SOUND, job)))
    await until(there=False)
    running.cancel()


@pytest.mark.parametrize("asked", [{}, {"q": ""}, {"q": "…"}, {"q": "a", "hits": 0}, {"q": "a", "cursor": "x"}])
async def test_a_search_for_nothing_is_refused(world: World, asked: dict[str, Any]) -> None:
    async with world.client("ann") as ann:
        assert (await ann.get("/api/search/transcripts", params=asked)).status_code == 422


def test_passages_end_with_sentences_speakers_and_silences() -> None:
    def word(text: str, start: int, speaker: str = "A") -> dict[str, Any]:
        return {"text": text, "start": start, "end": start + 400, "speaker": speaker}

    long = [word(f"word{number}", number * 500) for number in range(14)] + [word("end.", 7000)]
    said = [*long, word("Next", 7500), word("one,", 8000), word("you?", 8500, "B")]
    cut = passages(json.dumps({"words": said}).encode())
    assert [(each.text[-5:], each.start, each.end, each.speaker) for each in cut] == [
        (" end.", 0.0, 7.4, "A"),
        (" one,", 7.5, 8.4, "A"),
        ("you?", 8.5, 8.9, "B"),
    ]
    silent = [word("w" * 50, 0), word("after", 5000)]
    assert len(passages(json.dumps({"words": silent}).encode())) == 2
    endless = passages(json.dumps({"words": [word("word", number) for number in range(1000)]}).encode())
    assert max(len(each.text) for each in endless) <= 300


@pytest.mark.parametrize("text", ["x" * 1000, "\ufb2c" * 400, "one two " * 400], ids=["word", "expands", "utterance"])
@pytest.mark.parametrize("where", ["words", "utterances", "text"])
def test_a_passage_is_bounded_whatever_the_parts_are(where: str, text: str) -> None:
    """\ufb2c is three characters when it is composed; a document of MongoDB has at most 16 MiB."""
    said = text if where == "text" else [{"text": text, "start": 1000, "end": 2000, "speaker": "s" * 10_000}]
    cut = passages(json.dumps({where: said}).encode())
    assert max(len(each.text) for each in cut) <= 300
    assert max(len(each.speaker or "") for each in cut) <= 100
    whole = unicodedata.normalize("NFC", text)
    assert "".join("".join(each.text.split()) for each in cut) == whole.replace(" ", "")
    assert {each.start for each in cut} == ({None} if where == "text" else {1.0})


@pytest.mark.parametrize("time", ["Infinity", "NaN", "1e999"])
def test_a_time_that_is_no_number_is_refused(time: str) -> None:
    """JSON has no such number, so a search result with it could not be serialized."""
    with pytest.raises(ValueError, match="not a transcript"):
        passages(f'{{"words": [{{"text": "a", "start": {time}}}]}}'.encode())


@pytest.mark.parametrize("where", ["words", "utterances"])
def test_a_transcript_of_errors_does_not_cost_memory_for_each(where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Transcript.model_validate_json(f'{{"{where}": [{"[]," * 99}[]]}}')
    assert caught.value.error_count() == 1


async def test_a_child_that_needs_too_much_memory_fails_alone() -> None:
    """The child's memory limit is below the container's, whose OOM kill would end the gateway.

    Parsing the 8 MB of JSON needs 0.5 GB.
    """
    with pytest.raises(ValueError, match="too large to parse"):
        await splitting.split(b'{"words": [' + b'{"text":""},' * 600_000 + b'{"text":""}]}')


async def test_a_long_one_is_cut_by_a_child_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    content = answer(*(f"Sentence {number} {'and so on ' * 10}." for number in range(30)))
    here = await splitting.split(content)
    monkeypatch.setattr(splitting, "_IN_PROCESS_BYTES", 0)
    assert await splitting.split(content) == here == passages(content)
    with pytest.raises(ValueError, match="not a transcript"):
        await splitting.split(b"[]")
    monkeypatch.setattr(splitting, "_TIMEOUT_SECONDS", 0)
    with pytest.raises(ValueError, match="longer than"):
        await splitting.split(content)


def test_transcript_without_words_uses_utterances_or_text() -> None:
    spoken = {"utterances": [{"text": "Hello there.", "start": 1000, "end": 2000, "speaker": "A"}], "text": "x"}
    assert passages(json.dumps(spoken).encode()) == [Passage("Hello there.", 1.0, 2.0, "A")]
    assert passages(b'{"text": "Only a text."}') == [Passage("Only a text.", None, None, None)]
    assert passages(b'{"text": ""}') == []


@pytest.mark.parametrize(
    ("text", "following", "query", "shown"),
    [
        ("The Café on the corner", "", "cafe", ["Café"]),
        ("straße und STRASSE", "", "strasse", ["straße", "STRASSE"]),
        ("one two three, one", "", "one th", ["one", "three", "one"]),
        ("an e-mail, and mail", "", "email", ["e-mail"]),
        ("x " * 400 + "needle" + " y" * 400, "", "needle", ["needle"]),
        ("z" * 500 + "needle", "", "zz", []),
        ("今天的预算表", "", "预算表", ["预算表"]),
        ("the climate", " report of", "climate report", ["climate", "report"]),
        ("the climate", " the report", "climate", ["climate"]),
        ("今天的预", "算", "预算", ["预算"]),
    ],
)
def test_a_snippet_marks_the_words(text: str, following: str, query: str, shown: list[str]) -> None:
    snippet, marks = marked(text, following, conditions(query))
    assert [snippet[mark.offset : mark.offset + mark.length] for mark in marks] == shown
    assert len(snippet) <= 330
    assert snippet in text + following
