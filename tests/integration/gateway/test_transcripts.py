"""Transcript index over real stores: indexing by two gateways at once, search, and deletion."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_gateway.app import create_app
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Records
from contentgen_gateway.transcripts.index import INDEXES, TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3
from contentgen_sandbox.assemblyai import transcript
from contentgen_simulation.gateway.server import GatewayWorld

MINUTE_MS = 60_000


class World(GatewayWorld):
    """Gateway over real stores with the indexers of two replicas."""

    def __init__(self, database: Database[dict[str, Any]], storage: Storage) -> None:
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
        self.database = database
        self.client_of_s3 = storage._client
        endpoint = storage._client.meta.endpoint_url
        files = BucketFiles(
            bucket="assets", region="us-east-1", endpoint=endpoint, public_endpoint=None, session=s3.session()
        )
        records, index = Records(database["jobs"], files.key_of), TranscriptIndex(database)
        index.create_indexes()
        visibility = Visibility(
            records,
            self.dependencies.authorizer,
            self.dependencies.creations,
            self.dependencies.shares,
            self.dependencies.tenants,
        )
        self.dependencies = replace(
            self.dependencies, records=records, files=files, transcripts=index, visibility=visibility
        )
        self.app = create_app(self.dependencies)
        self.indexers = [Indexer(records, files, index) for _ in range(2)]

    def said(self, number: int, seed: str, version: int = 1, minutes: int = 60) -> list[transcript.ScriptWord]:
        """Generated transcript in the worker's stored format."""
        words = list(transcript.speak(minutes * MINUTE_MS, seed))
        key = f"transcripts/ann/00000000-0000-4000-8000-{number:012}/{'v2/' if version > 1 else ''}transcript.json"
        answer = {"id": "x", "status": "completed", "text": "…", "words": [word.json(speakers=True) for word in words]}
        self.client_of_s3.put_object(Bucket="assets", Key=key, Body=json.dumps(answer, indent=1).encode())
        made = {"version": version, "transcriptUrl": f"s3://assets/{key}"}
        if version == 1:
            self.job(number, Kind.TRANSCRIPTION, versions=[made])
        else:
            self.database["jobs"].update_one({"status": "completed"}, {"$push": {"versions": made}})
        return words

    async def walk(self) -> None:
        """Run both indexers concurrently."""
        await asyncio.gather(*(indexer.update_all() for indexer in self.indexers))

    async def search(self, q: str, who: str = "ann", **asked: Any) -> list[dict[str, Any]]:
        """Transcripts found by a search."""
        async with self.client(who) as client:
            answer = await client.get("/api/search/transcripts", params={"q": q, **asked})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["transcripts"]
        return found


async def test_an_hour_is_indexed_by_two_at_once_found_and_forgotten(
    database: Database[dict[str, Any]], storage: Storage
) -> None:
    world = World(database, storage)
    words = world.said(1, "an hour")
    await world.walk()
    kept = [each_transcript["number"] for each_transcript in database["transcripts"].find({}, {"number": True})]
    assert sorted(kept) == list(range(len(kept))), "each passage once"
    assert len(kept) > 200
    assert set(INDEXES) <= set(database["transcripts"].index_information())

    (found,) = await world.search("light reall", hits=50)
    starts = [word.start / 1000 for word in words if word.text == "light"]
    assert 0.9 * len(starts) <= found["hitCount"] <= len(starts), "a passage may have it twice"
    for hit in found["hits"]:
        assert any(hit["start"] <= start <= hit["end"] for start in starts)
        marked = {hit["snippet"][mark["offset"] :][: mark["length"]] for mark in hit["marks"]}
        assert marked == {"light", "really"}
    assert await world.search("light reall", "bob") == []

    world.said(1, "another hour", version=2)
    await world.walk()
    assert {each_transcript["version"] for each_transcript in database["transcripts"].find({}, {"version": True})} == {
        2
    }
    database["jobs"].delete_many({})
    await world.walk()
    assert [database[name].count_documents({}) for name in ("transcripts", "transcripts-indexed")] == [0, 0]


async def test_pages_go_over_many_jobs(database: Database[dict[str, Any]], storage: Storage) -> None:
    world = World(database, storage)
    for number in range(1, 6):
        world.said(number, f"talk {number}", minutes=10)
    await world.walk()
    seen: list[str] = []
    cursor: str | None = ""
    async with world.client("ann") as ann:
        while cursor is not None:
            asked = {"q": "light", "limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await ann.get("/api/search/transcripts", params=asked)).json()
            seen += [each_transcript["jobId"][-1] for each_transcript in page["transcripts"]]
            cursor = page["nextCursor"]
    assert seen == ["5", "4", "3", "2", "1"]
