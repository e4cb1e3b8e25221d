"""Backup and restore, into empty and running databases: complete, never overwriting newer data, no second payment."""

import itertools
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mongomock
import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_contract.records.ledger import UNCERTAIN, PurchaseState, SendState, merge_restored
from contentgen_gateway.migration import asset_listing
from contentgen_gateway.migration import backup as backups
from contentgen_gateway.migration.archive import VERSION, BadArchive, create_archive, open_archive
from contentgen_gateway.migration.backup import BACKED_UP, NOT_BACKED_UP, backup, newest_record, newest_runs, restore
from contentgen_operator.state.purchases import Purchase, PurchaseKey
from contentgen_operator.state.run_document import RunDocument
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_simulation.gateway.tenants import TenantWorld

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = PurchaseKey(
    namespace="red", kind=Kind.TRANSCRIPTION, name="talk", run_hash="ab", rerun=None, attempt=1
)  # fmt: skip


def purchase(state: PurchaseState, **fields: Any) -> Purchase:
    made = {
        "job_id": "j",
        "provider": "fal",
        "model": "m",
        "correlation_key": "k",
        "created_at": NOW,
        "changed_at": NOW,
    }
    return Purchase.model_validate({"state": state} | made | fields)


def empty() -> Any:
    return mongomock.MongoClient(tz_aware=True)["content-generation"]


def full() -> Any:
    world = TenantWorld()
    database = world.database
    for state in PurchaseState:
        send_state = SendState.SENDING if state is PurchaseState.INTENT else None
        database["ledger"].insert_one(
            {"_id": f"p-{state}", **purchase(state, send_state=send_state).model_dump(by_alias=True)}
        )
    database["shares"].insert_one({"_id": "s", "jobId": world.jobs[0].job_id, "with": {"user": "carol"}})
    database["collections"].insert_one({"_id": "c", "name": "campaign"})
    database["signed-out"].insert_one({"_id": "digest", "until": NOW})
    return database


def content(database: Any) -> dict[str, Any]:
    shown = {kept.name: None if kept.key == "_id" else {"_id": False} for kept in BACKED_UP}
    return {name: sorted(database[name].find({}, fields), key=repr) for name, fields in shown.items()}


def saved(database: Any, target: Path, assets: tuple[dict[str, Any], ...] = ()) -> str:
    with create_archive(str(target)) as writer:
        backup(database, writer, assets)
        writer.close(NOW, "assets")
    return str(target)


def put_back(database: Any, source: str) -> dict[str, backups.Restored]:
    with open_archive(source) as archive:
        return restore(database, archive)


@pytest.mark.parametrize("name", ["folder", "b.tar", "b.tar.gz"])
def test_deleted_objects_are_restored(tmp_path: Path, name: str) -> None:
    before, after = full(), empty()
    source = saved(before, tmp_path / name)
    done = put_back(after, source)
    expected, found = content(before), content(after)
    refused = next(purchase for purchase in expected["ledger"] if purchase["state"] == "refused")
    refused |= {"state": "intent", "sendState": "sending", "sendNumber": 1, "error": UNCERTAIN}
    under_way = [job for job in expected["jobs"] if job["status"] == "processing"]
    assert under_way
    for each in under_way:
        each["status"] = "cancelled"
    expected["jobs"].sort(key=repr)
    assert sorted(found.pop("ledger"), key=repr) == sorted(expected.pop("ledger"), key=repr)
    assert found == expected
    assert done["jobs"].added == len(expected["jobs"]) == 16


def runs(number: int, revision: int, **fields: Any) -> dict[str, Any]:
    return {"_id": "u", "number": number, "version": number, "revision": revision, "run": f"run {number}"} | fields


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        (None, runs(1, 4), runs(1, 4)),
        (runs(1, 4), runs(2, 8), runs(2, 9)),
        (runs(2, 8), runs(1, 4), None),
        (runs(1, 2), runs(1, 4), runs(1, 5)),
        (runs(1, 4), runs(1, 2), None),
        (runs(1, 9), runs(2, 3), runs(2, 10)),
        # The database lost the second run and began a third one without a payment.
        (runs(3, 6, unrecorded={"number": 2}), runs(2, 8), runs(2, 9) | {"number": 3, "version": 3}),
        (runs(3, 6, unrecorded={"number": 2}), runs(1, 8), None),
    ],
)
def test_run_documents_only_go_forward(stored: Any, given: Any, expected: Any) -> None:
    assert newest_runs(stored, given) == expected


async def test_a_run_document_comes_back_into_an_older_database(tmp_path: Path) -> None:
    """A restore compares and sets, and never decreases a number."""
    database = full()
    stored = RunDocuments(database["runs"])
    made = RunDocument(uid="u", namespace="red", kind=Kind.TRANSCRIPTION, name="talk", number=2, version=2)
    assert await stored.put(made)
    source = saved(database, tmp_path / "b.tar")
    database["runs"].delete_many({})
    assert await stored.put(made.model_copy(update={"number": 1, "version": 1}))
    assert put_back(database, source)["runs"].replaced == 1
    found = await stored.get("u")
    assert found is not None
    assert (found.number, found.version, found.revision) == (2, 2, 2)


def test_twice_changes_nothing(tmp_path: Path) -> None:
    after = empty()
    source = saved(full(), tmp_path / "b.tar")
    put_back(after, source)
    once = content(after)
    done = put_back(after, source)
    assert content(after) == once
    assert all(each.added == each.replaced == 0 for each in done.values())


def test_interrupted_restore_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore interrupted after any write leaves consistent data, and completes when repeated."""
    source = saved(full(), tmp_path / "b.tar")
    whole = empty()
    put_back(whole, source)
    original = backups._insert
    for limit in range(4):
        after, writes = empty(), 0

        def cut(collection: Any, documents: list[Any], limit: int = limit) -> int:
            nonlocal writes
            if writes == limit:
                raise AutoReconnect("away")
            writes += 1
            return original(collection, documents)

        monkeypatch.setattr(backups, "_insert", cut)
        with pytest.raises(AutoReconnect):
            put_back(after, source)
        assert after["jobs"].count_documents({}) == 0, "records come last: what they name is there before them"
        monkeypatch.setattr(backups, "_insert", original)
        put_back(after, source)
        assert content(after) == content(whole)


def test_a_running_database_is_made_no_older(tmp_path: Path) -> None:
    database = full()
    source = saved(database, tmp_path / "b.tar")
    job = database["jobs"].find_one({})["jobId"]
    later = {"versions": [{"version": 1}, {"version": 2}], "metadata": {"tags": ["new"]}}
    database["jobs"].update_one({"jobId": job}, {"$set": later})
    database["ledger"].update_one({"_id": "p-intent"}, {"$set": {"state": "submitted", "requestId": "r"}})
    database["ledger"].update_one({"_id": "p-succeeded"}, {"$set": {"state": "collected"}})
    database["shares"].delete_one({"_id": "s"})  # revoked
    before = content(database)
    put_back(database, source)
    assert content(database) == before


def test_an_older_state_is_brought_forward(tmp_path: Path) -> None:
    """An older backup was restored first."""
    source = saved(full(), tmp_path / "b.tar")
    older = empty()
    older["ledger"].insert_one({"_id": "p-submitted", "state": "intent", "sendState": "sending"})
    older["jobs"].insert_one({"jobId": "00000000-0000-4000-8000-000000000001", "versions": [], "progress": 10})
    done = put_back(older, source)
    assert older["ledger"].find_one({"_id": "p-submitted"})["state"] == "submitted"
    assert older["jobs"].find_one({"jobId": "00000000-0000-4000-8000-000000000001"})["versions"]
    assert (done["ledger"].replaced, done["jobs"].replaced) == (1, 1)


def test_a_record_that_is_being_deleted_stays_so() -> None:
    assert newest_record({"discard": {}, "versions": []}, {"versions": [1]}) is None


def test_running_jobs_are_restored_without_waiting() -> None:
    assert newest_record(None, {"status": "processing"}) == {"status": "cancelled"}


@pytest.mark.parametrize("state", list(PurchaseState))
async def test_a_restored_ledger_pays_for_nothing_again(state: PurchaseState) -> None:
    """No state of the backup leads to a request, not even for a resource with another uid."""
    database = empty()
    made = merge_restored(None, {"_id": str(KEY), **purchase(state).model_dump(by_alias=True)})
    database["ledger"].insert_one(dict(made or {}))
    ledger = Ledger(database["ledger"])
    assert not await ledger.intend(KEY, purchase(PurchaseState.INTENT))
    assert not await ledger.intend(KEY, purchase(PurchaseState.INTENT, job_id="another"))


@pytest.mark.parametrize("send_state", SendState)
async def test_a_restored_intent_is_not_sent(send_state: SendState) -> None:
    """A purchase that was planned at the time of the backup may have been sent since."""
    database = empty()
    given = purchase(PurchaseState.INTENT, send_state=send_state).model_dump(by_alias=True)
    database["ledger"].insert_one(dict(merge_restored(None, {"_id": str(KEY), **given}) or {}))
    ledger = Ledger(database["ledger"])
    planned = purchase(PurchaseState.INTENT, send_state=SendState.PLANNED)
    assert not await ledger.intend(KEY, planned)
    assert await ledger.send(KEY, planned, NOW) is None


def evidence(text: str, purchase_id: str = "p") -> dict[str, Any]:
    """Document from `state number`, such as `sending 2`."""
    name, _, number = text.partition(" ")
    send_state = name if name in list(SendState) else None
    made = {"state": "intent" if send_state else name, "sendState": send_state, "sendNumber": int(number or 0)}
    return {"_id": str(KEY), "purchaseId": purchase_id, "changedAt": NOW, **made}


ORDER = (
    "planned 0", "sending 1", "refused 1", "planned 1", "sending 2", "abandoned 2", "submitted 2", "succeeded 2",
    "collected 2",
)  # fmt: skip
"""Evidence of one purchase, the later ones after the earlier."""


@pytest.mark.parametrize(("stored", "given"), list(itertools.product(ORDER, ORDER)))
async def test_the_later_evidence_of_a_purchase_counts(stored: str, given: str) -> None:
    """By the number of the try, then by its position; what the backup has as unsent may have been sent since."""
    made = merge_restored(evidence(stored), evidence(given) | {"changedAt": NOW - timedelta(days=1)})
    if ORDER.index(given) <= ORDER.index(stored):
        assert made is None
        return
    unsent = given.startswith(("planned", "refused"))
    wanted = evidence(f"sending {int(given[-1]) + 1}" if unsent else given)
    assert made is not None
    assert {name: made[name] for name in ("state", "sendState", "sendNumber")} == {
        name: wanted[name] for name in ("state", "sendState", "sendNumber")
    }
    assert merge_restored(made, evidence(given)) is None, "a repeated restore changes nothing"


@pytest.mark.parametrize(("given", "later"), [("sending 1", "submitted"), ("collected 1", "collected")])
def test_a_restore_keeps_the_keys_of_equal_requests(given: str, later: str) -> None:
    stored = evidence("submitted 1") | {"alsoUnder": ["a", "b"]}
    made = merge_restored(stored, evidence(given) | {"alsoUnder": ["b", "c"]})
    assert made is not None
    assert (made["state"], made["alsoUnder"]) == (later, ["a", "b", "c"])
    assert merge_restored(made, evidence(given) | {"alsoUnder": ["c"]}) is None


@pytest.mark.parametrize(
    ("stored", "given", "kept"),
    [
        ("planned 0", "planned 0", "sending 1"),
        ("refused 1", "sending 1", "sending 1"),
        ("refused 3", "collected 1", "collected 1"),
        ("submitted 1", "planned 0", "submitted 1"),
        ("failed 1", "planned 0", "sending 1"),
        ("abandoned 1", "submitted 1", "submitted 1"),
    ],
)
def test_two_purchases_of_the_same_are_kept_and_nothing_is_paid(stored: str, given: str, kept: str) -> None:
    made = merge_restored(evidence(stored, "one"), evidence(given, "two"))
    assert made is not None
    wanted = evidence(kept)
    assert [made[name] for name in ("state", "sendState")] == [wanted[name] for name in ("state", "sendState")]
    assert {made["purchaseId"], *(purchase["purchaseId"] for purchase in made["others"])} == {"one", "two"}
    assert merge_restored(made, evidence(given, "two")) is None


async def test_a_restore_replaces_only_what_it_has_read(tmp_path: Path) -> None:
    """The operator sends the purchase, or another resource adopts it, between the read and the write."""
    for changed in ({"sendState": "sending"}, {"sentBy": "other"}, {"jobId": "another"}, {"sendNumber": 4}):
        database = empty()
        database["ledger"].insert_one(evidence("planned 0") | {"jobId": "j", "sentBy": None})
        stored = database["ledger"].find_one({})
        database["ledger"].update_one({}, {"$set": changed})
        assert not backups._replace(database["ledger"], stored, merge_restored(stored, evidence("sending 1")))


@pytest.mark.parametrize(
    ("stored", "given", "later"),
    [
        ("planned", "sending", True),
        ("sending", "abandoned", True),
        ("sending", "planned", False),
        ("sending", "sending", False),
        (None, "planned", False),  # a send state that is missing or unknown: it may have been sent
        ("planned", None, True),
        ("planned", "unknown", True),
        (None, "abandoned", True),
    ],
)
def test_an_intent_goes_forward_by_its_send_state(stored: str | None, given: str | None, later: bool) -> None:
    made = merge_restored({"state": "intent", "sendState": stored}, {"state": "intent", "sendState": given})
    assert (made is not None) is later


async def test_the_control_a_refused_purchase_may_be_sent_again() -> None:
    database = empty()
    refused = purchase(PurchaseState.REFUSED).model_dump(by_alias=True)
    database["ledger"].insert_one({"_id": str(KEY), **refused})
    assert await Ledger(database["ledger"]).intend(KEY, purchase(PurchaseState.INTENT))


@pytest.mark.parametrize("given", list(PurchaseState))
@pytest.mark.parametrize("stored", list(PurchaseState))
def test_a_purchase_only_goes_forward(stored: PurchaseState, given: PurchaseState) -> None:
    made = merge_restored(
        {"state": stored.value, "sendState": "sending"}, {"state": given.value, "sendState": "sending"}
    )
    order = ["intent", "refused", "submitted", "succeeded", "collected"]
    if made is not None:
        assert made["sendState"] == "sending"
        assert made["state"] == (PurchaseState.INTENT if given is PurchaseState.REFUSED else given)
        assert given is not PurchaseState.DISCARDED
        assert stored in (PurchaseState.INTENT, PurchaseState.REFUSED, PurchaseState.SUBMITTED) or (
            order.index(stored) < order.index(given)
        )


@pytest.mark.parametrize("spoil", ["changed", "cut", "gone", "manifest", "newer", "older", "stray", "up"])
def test_an_archive_that_is_not_whole_is_not_read(tmp_path: Path, spoil: str) -> None:
    folder = tmp_path / "b"
    saved(full(), folder)
    jobs, manifest = folder / "jobs.jsonl", folder / "manifest.json"
    source = str(folder)
    match spoil:
        case "changed":
            jobs.write_bytes(jobs.read_bytes().replace(b"completed", b"cancelled", 1))
        case "cut":
            jobs.write_bytes(jobs.read_bytes()[:-100])
        case "gone":
            jobs.unlink()
        case "manifest":
            manifest.unlink()
        case "newer" | "older":
            version = VERSION + (1 if spoil == "newer" else -1)
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
        case "stray" | "up":
            source = str(tmp_path / "b.tar")
            with tarfile.open(source, "w") as tar:
                for path in folder.iterdir():
                    tar.add(path, path.name)
                tar.add(jobs, "../outside.jsonl" if spoil == "up" else "passwd")
    database = empty()
    with pytest.raises(BadArchive):
        put_back(database, source)
    assert not any(content(database).values())
    assert not (tmp_path.parent / "outside.jsonl").exists()


def test_each_collection_is_kept_or_made_again() -> None:
    """Each collection of the sources is in one of the two lists."""
    root = Path(__file__).parents[4] / "operator"
    sources = [*(root / "contentgen_gateway").rglob("*.py"), *(root / "contentgen_operator").rglob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    named = set(backups.COLLECTION.findall(text))
    assert named
    assert named == {kept.name for kept in BACKED_UP if kept.name in named} | (NOT_BACKED_UP & named)


def test_asset_list_names_missing_and_replaced_files() -> None:
    world = TenantWorld()
    bucket, client = world.bucket, world.dependencies.files._client
    bucket.objects = {"loras/ann/a/v1/model.safetensors": b"one", "runs/a/x": b"two", "transcripts/a/b/t": b"three"}
    listed = list(asset_listing.assets(client, "assets", checksums=True))
    assert {file["key"]: file["bytes"] for file in listed} == {key: len(body) for key, body in bucket.objects.items()}
    assert asset_listing.compare(client, "assets", listed) == asset_listing.Comparison(same=3)
    del bucket.objects["runs/a/x"]
    bucket.objects["transcripts/a/b/t"] = b"other"
    bucket.objects["loras/ann/a/v1/model.safetensors"] = b"own"
    found = asset_listing.compare(client, "assets", listed)
    assert (found.missing, len(found.different), found.same) == (["runs/a/x"], 2, 0)


def test_times_come_back_to_the_millisecond(tmp_path: Path) -> None:
    database = empty()
    made = NOW + timedelta(milliseconds=123)
    database["jobs"].insert_one({"jobId": "x", "createdAt": made, "n": 2**40})
    after = empty()
    put_back(after, saved(database, tmp_path / "b.tar"))
    assert after["jobs"].find_one({}, {"_id": False}) == {"jobId": "x", "createdAt": made, "n": 2**40}
