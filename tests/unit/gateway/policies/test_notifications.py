"""`/api/jobs/{jobId}/notifications`: the log, another delivery, the public keys; `webhookUrl` of the legacy API."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_gateway.schemas.notifications import shown_target
from contentgen_gateway.schemas.requests import GenerateOrder, TrainOrder, TranscribeOrder
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import PUBLIC, KeyTerm, rotated
from contentgen_operator.notifications.values import Notification
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.gateway.server import GatewayWorld

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
URL = "https://hooks.example.com/services/T0/s3cret?token=x"


@pytest.fixture
def world() -> GatewayWorld:
    return GatewayWorld(("ann", "*", "*", "red"), ("bob", "get", "*", "red"), ("bob", "list", "*", "red"))


async def planted(world: GatewayWorld, state: str, number: int = 1, identity: str = "msg_1", url: str = URL) -> str:
    """A job with one notification."""
    job_id = f"00000000-0000-4000-8000-{number:012}"
    if world.database["jobs"].find_one({"jobId": job_id}) is None:
        world.job(number, Kind.TRANSCRIPTION)
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="red", name=f"job-{number}", uid=job_id)
    event = NotificationEvent.FAILED
    made = Notification(id=identity, ref=ref, run=2, event=event, url=url, payload='{"message": "text"}')
    await NotificationOutbox(world.database["notifications"]).plan([made], NOW)
    attempt = {"at": NOW, "result": "failed", "status": 500, "seconds": 0.2, "detail": "the receiver answered 500"}
    change = {"state": state, "deliveries": [attempt], "tries": 9, "roundStartedAt": NOW - timedelta(days=1)}
    world.database["notifications"].update_one({"_id": identity}, {"$set": change})
    return job_id


async def test_the_log_shows_attempts_and_no_secret(world: GatewayWorld) -> None:
    job_id = await planted(world, "failed")
    async with world.client("bob") as client:
        response = await client.get(f"/api/jobs/{job_id}/notifications")
    assert response.status_code == 200, response.text
    (shown,) = response.json()["notifications"]
    assert shown | {"createdAt": None, "nextAt": None} == {
        "notificationId": "msg_1",
        "event": "Failed",
        "run": 2,
        "target": "https://hooks.example.com/…",
        "state": "failed",
        "createdAt": None,
        "nextAt": None,
        "attempts": [
            {
                "at": "2026-11-23T12:00:00Z",
                "result": "failed",
                "status": 500,
                "seconds": 0.2,
                "detail": "the receiver answered 500",
            }
        ],
    }
    assert "s3cret" not in response.text
    assert "token" not in response.text


async def test_a_planned_notification_is_not_shown(world: GatewayWorld) -> None:
    job_id = await planted(world, "planned")
    async with world.client("ann") as client:
        assert (await client.get(f"/api/jobs/{job_id}/notifications")).json()["notifications"] == []
        assert (await client.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")).status_code == 404


@pytest.mark.parametrize("state", ["failed", "delivered", "gone"])
async def test_a_resend_begins_another_day_with_the_same_id_and_text(world: GatewayWorld, state: str) -> None:
    job_id = await planted(world, state)
    async with world.client("ann") as client:
        response = await client.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")
    assert response.status_code == 202, response.text
    assert response.json()["state"] == "pending"
    (entry,) = await NotificationOutbox(world.database["notifications"]).due(datetime.now(UTC), 10)
    assert (entry.notification.id, entry.notification.payload) == ("msg_1", '{"message": "text"}')
    assert (entry.tries, entry.round_started_at, entry.expires_at) == (0, None, None)
    assert len(entry.deliveries) == 1


async def test_a_resend_uses_an_address_again_that_had_answered_410(world: GatewayWorld) -> None:
    for identity in ("msg_1", "msg_2"):
        job_id = await planted(world, "gone", identity=identity)
    await planted(world, "gone", identity="msg_3", url="https://other.example.com/")
    async with world.client("ann") as client:
        await client.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")
    outbox = NotificationOutbox(world.database["notifications"])
    (entry,) = await outbox.due(datetime.now(UTC), 10)
    assert not await outbox.is_gone(entry)
    states = {notification["_id"]: notification["state"] for notification in world.database["notifications"].find()}
    assert states == {"msg_1": "pending", "msg_2": "failed", "msg_3": "gone"}


async def test_a_waiting_notification_is_sent_now_without_another_day(world: GatewayWorld) -> None:
    job_id = await planted(world, "pending")
    later = datetime.now(UTC) + timedelta(hours=3)
    world.database["notifications"].update_one({}, {"$set": {"nextAt": later}})
    async with world.client("ann") as client:
        assert (await client.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")).status_code == 202
    (entry,) = await NotificationOutbox(world.database["notifications"]).due(datetime.now(UTC), 10)
    assert entry.tries == 9
    assert entry.round_started_at == NOW - timedelta(days=1)


async def test_rights(world: GatewayWorld) -> None:
    """Reading needs `get`, a resend `patch`; another job's notification is not found by its id."""
    job_id = await planted(world, "failed")
    other = world.job(2)
    async with world.client("bob") as bob, world.client("ann") as ann, world.client("eve") as eve:
        assert (await bob.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")).status_code == 403
        assert (await eve.get(f"/api/jobs/{job_id}/notifications")).status_code == 404
        assert (await eve.post(f"/api/jobs/{job_id}/notifications/msg_1/resend")).status_code == 404
        assert (await ann.post(f"/api/jobs/{other}/notifications/msg_1/resend")).status_code == 404
    assert world.database["notifications"].find_one()["state"] == "failed"


async def test_a_share_does_not_show_the_receivers(world: GatewayWorld) -> None:
    job_id = await planted(world, "failed")
    async with world.client("ann") as ann:
        assert (await ann.post(f"/api/assets/{job_id}/share", json={"users": ["carol"]})).status_code == 200
    async with world.client("carol") as carol:
        assert (await carol.get(f"/api/jobs/{job_id}")).status_code == 200
        assert (await carol.get(f"/api/jobs/{job_id}/notifications")).status_code == 403
        assert "hooks.example.com" not in (await carol.get(f"/jobs/{job_id}")).text


async def test_the_page_of_a_job_has_its_notifications(world: GatewayWorld) -> None:
    job_id = await planted(world, "failed")
    async with world.client("ann") as client:
        page = (await client.get(f"/jobs/{job_id}")).text
    assert "https://hooks.example.com/…" in page
    assert f"/jobs/{job_id}/notifications/msg_1/resend" in page
    assert "s3cret" not in page


async def test_public_keys_are_published_without_a_token(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    world = GatewayWorld(gateway_webhook_keys_file=file)
    async with world.client(None) as client:
        assert (await client.get("/.well-known/contentgen-webhooks.json")).status_code == 404
        file.write_bytes(rotated({}, NOW, KeyTerm())[PUBLIC])
        response = await client.get("/.well-known/contentgen-webhooks.json")
    assert response.status_code == 200
    assert response.json() == json.loads(file.read_bytes())
    assert response.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/", "https://h.example"),
        ("https://h.example:8443/a/b", "https://h.example:8443/…"),
        ("https://h.example?token=x", "https://h.example/…"),
        ("https://u:p@h.example/", "https://h.example"),
        ("https://[x", "(not a URL)"),
    ],
)
def test_a_target_is_shown_without_path_and_query(url: str, shown: str) -> None:
    assert shown_target(url) == shown


@pytest.mark.parametrize(
    ("order", "body"),
    [
        (TrainOrder, {"videoUrl": "https://h/v.mp4", "loraName": "face"}),
        (GenerateOrder, {"prompt": "a cat"}),
        (TranscribeOrder, {"audioUrl": "https://h/a.mp3"}),
    ],
)
def test_webhook_url_of_the_legacy_api(order: Any, body: dict[str, Any]) -> None:
    assert order.model_validate(body | {"webhookUrl": URL}).spec()["notify"] == [{"url": URL}]
    assert "notify" not in order.model_validate(body).spec()
    notify = [{"url": URL, "on": ["Completed"]}]
    assert order.model_validate(body | {"notify": notify}).spec()["notify"] == notify
    with pytest.raises(ValueError, match="webhookUrl"):
        order.model_validate(body | {"notify": notify, "webhookUrl": URL})
    with pytest.raises(ValueError, match="webhookUrl"):
        order.model_validate(body | {"webhookUrl": "ftp://h/"})
