"""fal's own client against the sandbox: a training, pictures, errors, faults, history."""

import io
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fal_client
import httpx
import pytest
from PIL import Image

from contentgen_sandbox.testing import PATIENCE_S, SandboxServer, sandbox_server

TRAINER = "fal-ai/flux-lora-fast-training"
AUTH = {"Authorization": "Key test"}


@pytest.fixture
def client(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
    server.reset()
    monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", server.fal_queue_url)
    made = fal_client.SyncClient(key="test")
    yield made
    made._client.close()


def images_zip(count: int = 4, caption: str = "a photo of jf") -> bytes:
    buffer, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, "PNG")
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(count):
            archive.writestr(f"{index}.png", picture.getvalue())
            archive.writestr(f"{index}.txt", caption)
    return buffer.getvalue()


def training(server: SandboxServer, name: str = "images.zip", **zip_options: Any) -> dict[str, Any]:
    url = server.put_media(name, images_zip(**zip_options))
    return {"images_data_url": f"{url}?signature=secret", "trigger_word": "jf", "steps": 500}


def post(server: SandboxServer, model: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.fal_queue_url}{model}", json=body, headers=AUTH)


def finished(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        response = httpx.get(url, headers=AUTH, params={"logs": "true"})
        if response.status_code == 200:
            body: dict[str, Any] = response.json()
            return body
        assert response.status_code == 202
        time.sleep(0.02)
    raise TimeoutError


def test_a_training_end_to_end(server: SandboxServer, client: fal_client.SyncClient) -> None:
    handle = client.submit(TRAINER, training(server))
    result = handle.get(interval=0.02)
    status = handle.status(with_logs=True)
    assert isinstance(status, fal_client.Completed)
    assert status.error is None
    assert any("step 500/500" in line["message"] for line in status.logs or [])
    lora = result["diffusers_lora_file"]
    assert lora["url"].startswith(f"{server.url}/files/{handle.request_id}/")
    assert len(httpx.get(lora["url"]).content) == lora["file_size"]
    assert httpx.get(result["config_file"]["url"]).json()["trigger_word"] == "jf"
    assert httpx.get(lora["url"], headers={"Range": "bytes=0-3"}).status_code == 206
    report = server.ledger()
    assert report["total_usd"] == "1.000000"  # 500 steps
    assert report["entries"][0]["marker"] == "/media/images.zip"
    assert report["entries"][0]["request_id"] == handle.request_id


def test_phases_logs_and_positions_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox_server(training_seconds=2) as slow:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", slow.fal_queue_url)
        client = fal_client.SyncClient(key="test")
        handle = client.submit(TRAINER, training(slow, caption="a photo"))
        seen = [type(event).__name__ for event in handle.iter_events(with_logs=True, interval=0.05)]
        messages = [line["message"] for line in getattr(handle.status(with_logs=True), "logs", [])]
        client._client.close()
    assert list(dict.fromkeys(seen)) == ["Queued", "InProgress", "Completed"]
    assert any("don't contain 'jf'" in message for message in messages)


def test_pictures_from_a_trained_lora(server: SandboxServer, client: fal_client.SyncClient) -> None:
    trained = client.submit(TRAINER, training(server)).get(interval=0.02)
    arguments = {
        "prompt": "Headshot of jf",
        "image_size": {"width": 320, "height": 200},
        "num_images": 2,
        "seed": 42,
        "output_format": "png",
        "loras": [{"path": trained["diffusers_lora_file"]["url"], "scale": 0.8}],
    }
    result = client.submit("fal-ai/flux-lora", arguments).get(interval=0.02)
    assert result["seed"] == 42
    assert result["has_nsfw_concepts"] == [False, False]
    for image in result["images"]:
        with Image.open(io.BytesIO(httpx.get(image["url"]).content)) as opened:
            assert (opened.format, opened.size) == ("PNG", (320, 200))
    assert server.ledger()["entries"][-1]["marker"] == "seed:42"


@pytest.mark.parametrize("model", ["fal-ai/flux/dev", "fal-ai/flux/schnell", "fal-ai/flux-pro/v1.1"])
def test_models_with_a_sub_path(model: str, client: fal_client.SyncClient) -> None:
    handle = client.submit(model, {"prompt": "a lighthouse", "image_size": "square"})
    again = client.get_handle(model, handle.request_id)
    assert again.get(interval=0.02)["images"][0]["content_type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("model", "body", "loc"),
    [
        (TRAINER, {"steps": 10}, ["body", "images_data_url"]),
        (TRAINER, {"images_data_url": "file:///etc/passwd"}, ["body", "images_data_url"]),
        ("fal-ai/flux-lora", {"prompt": "x", "image_size": "huge"}, ["body", "image_size"]),
        ("fal-ai/flux-lora", {"prompt": "x", "loras": [{"path": "{url}/"}]}, ["body", "loras", 0, "path"]),
    ],
)
def test_the_models_error(
    server: SandboxServer, client: fal_client.SyncClient, model: str, body: dict[str, Any], loc: list[Any]
) -> None:
    if "loras" in body:
        body = {"prompt": "x", "loras": [{"path": f"{server.url}/healthz"}]}
    handle = client.submit(model, body)
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get(interval=0.02)
    assert caught.value.status_code == 422
    detail = caught.value.response.json()["detail"]
    assert detail[0]["loc"][: len(loc)] == loc
    status = handle.status()
    assert isinstance(status, fal_client.Completed)
    assert status.error


def test_too_few_images(server: SandboxServer, client: fal_client.SyncClient) -> None:
    with pytest.raises(fal_client.FalClientHTTPError, match="At least 4 images"):
        client.submit(TRAINER, training(server, "few.zip", count=3)).get(interval=0.02)


def test_refused_requests_cost_nothing(server: SandboxServer, client: fal_client.SyncClient) -> None:
    url = f"{server.fal_queue_url}fal-ai/flux/dev"
    assert httpx.post(url, json={}).status_code == 401
    assert httpx.post(url, json={}, headers={"Authorization": "Key wrong"}).status_code == 401
    assert httpx.post(url, content=b"{", headers=AUTH).status_code == 422
    assert httpx.post(url, content=b" " * 300_000, headers=AUTH).status_code == 413
    assert post(server, "fal-ai/no-such-model", {}).status_code == 404
    assert httpx.get(f"{server.fal_queue_url}fal-ai/flux/requests/unknown/status", headers=AUTH).status_code == 404
    assert server.ledger()["entries"] == []


def test_cancel(server: SandboxServer, client: fal_client.SyncClient) -> None:
    server.arm({"fault": "stuck", "provider": "fal"})
    handle = client.submit("fal-ai/flux/dev", {"prompt": "x"})
    assert isinstance(handle.status(), fal_client.InProgress)
    handle.cancel()
    status = handle.status()
    assert isinstance(status, fal_client.Completed)
    assert status.error_type == "client_cancelled"
    with pytest.raises(fal_client.FalClientHTTPError, match="ALREADY_COMPLETED"):
        handle.cancel()


def test_a_lost_reply_is_billed_and_found_in_the_history(server: SandboxServer, client: fal_client.SyncClient) -> None:
    server.arm({"fault": "reply_lost", "provider": "fal"})
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, TRAINER, training(server, "lost.zip"))
    entries = server.ledger()["entries"]
    assert len(entries) == 1
    finished(f"{server.fal_queue_url}{TRAINER}/requests/{entries[0]['request_id']}/status")
    item = history(server, TRAINER)["items"][0]
    assert item["request_id"] == entries[0]["request_id"]
    assert "/media/lost.zip" in item["json_input"]["images_data_url"]
    assert item["json_output"]["diffusers_lora_file"]["url"]


def test_the_sdk_pays_again_for_a_lost_reply(
    server: SandboxServer, client: fal_client.SyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reason for the operator's POSTs without the SDK's retries."""
    # The client's own value; the operator's adapter, where it was imported in this process, has set it to 1.
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 10)
    server.arm({"fault": "reply_lost", "count": 2})
    client.submit(TRAINER, training(server)).get(interval=0.02)
    assert server.ledger()["total_usd"] == "3.000000"


def history(server: SandboxServer, endpoint: str, **more: Any) -> dict[str, Any]:
    url = f"{server.fal_api_url}/v1/models/requests/by-endpoint"
    params = {"endpoint_id": endpoint, "expand": "payloads", **more}
    body: dict[str, Any] = httpx.get(url, params=params, headers=AUTH).raise_for_status().json()
    return body


def test_history_is_paged_newest_first(server: SandboxServer, client: fal_client.SyncClient) -> None:
    for seed in range(3):
        arguments = {"prompt": "x", "image_size": "square", "seed": seed}
        client.submit("fal-ai/flux/schnell", arguments).get(interval=0.02)
    first = history(server, "fal-ai/flux/schnell", limit=2)
    second = history(server, "fal-ai/flux/schnell", limit=1, cursor=first["next_cursor"])
    assert [item["json_input"]["seed"] for item in first["items"] + second["items"]] == [2, 1, 0]
    assert first["has_more"] is True
    assert httpx.get(f"{server.fal_api_url}/v1/models/requests/by-endpoint?endpoint_id=x").status_code == 401


def test_finished_request_is_backdated_with_its_charge(server: SandboxServer, client: fal_client.SyncClient) -> None:
    model = "fal-ai/flux/schnell"
    request_id = client.submit(model, {"prompt": "x", "image_size": "square"}).request_id
    url = f"{server.url}/sandbox/jobs/{request_id}/age"
    finished(f"{server.fal_queue_url}{model.rsplit('/', 1)[0]}/requests/{request_id}/status")
    (before,), (charge,) = history(server, model, request_id=request_id)["items"], server.ledger()["entries"]
    httpx.put(url, json={"seconds": 7200}).raise_for_status()
    (item,), (entry,) = history(server, model, request_id=request_id)["items"], server.ledger()["entries"]
    moved = [
        (datetime.fromisoformat(old[name]), datetime.fromisoformat(new[name]))
        for old, new, names in ((before, item, ("sent_at", "started_at", "ended_at")), (charge, entry, ("created_at",)))
        for name in names
    ]
    assert {old - new for old, new in moved} == {timedelta(hours=2)}
    assert entry["amount_usd"] == charge["amount_usd"]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert request_id not in {request["request_id"] for request in history(server, model, start=since)["items"]}
    assert httpx.put(f"{server.url}/sandbox/jobs/none/age", json={"seconds": 1}).status_code == 404
    server.arm({"fault": "stuck", "provider": "fal"})
    stuck = client.submit(model, {"prompt": "x", "image_size": "square"}).request_id
    assert httpx.put(f"{server.url}/sandbox/jobs/{stuck}/age", json={"seconds": 1}).status_code == 409
    server.heal(stuck)


def test_history_has_a_window_whose_end_is_exclusive(server: SandboxServer, client: fal_client.SyncClient) -> None:
    model = "fal-ai/flux-pro/v1.1"
    handle = client.submit(model, {"prompt": "x", "image_size": "square"})
    handle.get(interval=0.02)
    item = history(server, model)["items"][0]
    assert item["sent_at"] <= item["started_at"] <= item["ended_at"]
    assert history(server, model, start=item["ended_at"])["items"] == [item]
    assert item not in history(server, model, end=item["ended_at"])["items"]
    assert history(server, model, request_id=handle.request_id)["items"] == [item]
    assert history(server, model, request_id="another")["items"] == []
    bare = history(server, model, expand="nothing")["items"][0]
    assert item.keys() - bare.keys() == {"json_input", "json_output"}


def drawn(server: SandboxServer, client: fal_client.SyncClient, *faults: dict[str, Any]) -> str:
    """Finished request with these faults."""
    server.arm(*faults)
    handle = client.submit("fal-ai/flux/dev", {"prompt": "x", "image_size": "square"})
    finished(f"{server.fal_queue_url}fal-ai/flux/requests/{handle.request_id}/status")
    return str(handle.request_id)


@pytest.mark.parametrize(("fault", "status"), [("result_expired", 404), ("result_deleted", 410), ("result_moved", 302)])
def test_result_expired_in_the_queue_is_in_the_history(
    server: SandboxServer, client: fal_client.SyncClient, fault: str, status: int
) -> None:
    request_id = drawn(server, client, {"fault": fault})
    assert httpx.get(f"{server.fal_queue_url}fal-ai/flux/requests/{request_id}", headers=AUTH).status_code == status
    [item] = history(server, "fal-ai/flux/dev", request_id=request_id)["items"]
    assert (item["status_code"], len(item["json_output"]["images"])) == (200, 1)


def test_a_history_that_lags_and_one_without_payloads(server: SandboxServer, client: fal_client.SyncClient) -> None:
    late = drawn(server, client, {"fault": "history_late", "delay_s": 600})
    assert history(server, "fal-ai/flux/dev", request_id=late)["items"] == []
    server.heal(late)
    assert len(history(server, "fal-ai/flux/dev", request_id=late)["items"]) == 1
    bare = drawn(server, client, {"fault": "history_bare"}, {"fault": "result_expired"})
    [item] = history(server, "fal-ai/flux/dev", request_id=bare)["items"]
    assert (item["json_input"], item["json_output"]) == (None, None)
    assert httpx.get(f"{server.fal_queue_url}fal-ai/flux/requests/{bare}", headers=AUTH).status_code == 404, "both"


def test_an_unknown_request_and_a_locked_account(server: SandboxServer, client: fal_client.SyncClient) -> None:
    url = f"{server.fal_queue_url}fal-ai/flux/requests"
    reply = httpx.get(f"{url}/unknown/status", headers=AUTH)
    assert (reply.status_code, reply.json()) == (404, {"status": "NOT_FOUND"})
    reply = httpx.put(f"{url}/unknown/cancel", headers=AUTH)
    assert (reply.status_code, reply.json()) == (404, {"status": "NOT_FOUND"})
    known = drawn(server, client)
    server.arm({"fault": "locked_account", "provider": "fal"})
    reply = httpx.get(f"{url}/{known}/status", headers=AUTH)
    assert (reply.status_code, reply.json()["detail"][:14]) == (403, "User is locked")


@pytest.mark.parametrize(("fault", "status"), [("refuse_429", 429), ("refuse_503", 503), ("error_500", 500)])
def test_refusals(server: SandboxServer, client: fal_client.SyncClient, fault: str, status: int) -> None:
    server.arm({"fault": fault})
    assert post(server, "fal-ai/flux/dev", {"prompt": "x"}).status_code == status
    assert server.ledger()["entries"] == []
    assert post(server, "fal-ai/flux/dev", {"prompt": "x"}).status_code == 200


def test_a_hanging_reply_is_billed(server: SandboxServer, client: fal_client.SyncClient) -> None:
    server.arm({"fault": "timeout", "delay_s": 600})
    patience = httpx.Timeout(PATIENCE_S, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.fal_queue_url}fal-ai/flux/dev", json={"prompt": "x"}, headers=AUTH, timeout=patience)
    deadline = time.monotonic() + PATIENCE_S
    while not (entries := server.ledger()["entries"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(entries) == 1


def test_faults_of_the_model_and_of_the_status(
    server: SandboxServer, client: fal_client.SyncClient, pauses: list[float]
) -> None:
    server.arm({"fault": "model_error"})
    with pytest.raises(fal_client.FalClientHTTPError, match="a fault of the sandbox"):
        client.submit("fal-ai/flux/dev", {"prompt": "x"}).get(interval=0.02)

    server.arm({"fault": "result_url_dead"})
    result = client.submit("fal-ai/flux/dev", {"prompt": "x"}).get(interval=0.02)
    assert httpx.get(result["images"][0]["url"]).status_code == 404

    handle = client.submit("fal-ai/flux/dev", {"prompt": "x"})
    server.arm({"fault": "malformed_status"}, {"fault": "slow_status", "delay_s": 5})
    with pytest.raises(ValueError, match="Expecting value"):
        handle.status()
    handle.status()
    assert pauses == [0, 5]


def test_a_restart_finishes_what_was_accepted(tmp_path: Path) -> None:
    with sandbox_server(tmp_path, image_seconds=3600) as first:
        accepted = post(first, "fal-ai/flux/dev", {"prompt": "x", "image_size": "square"}).json()
    with sandbox_server(tmp_path) as second:
        assert len(second.ledger()["entries"]) == 1
        path = accepted["status_url"].removeprefix(first.url)
        assert finished(second.url + path)["status"] == "COMPLETED"


def test_media_are_served_by_range_and_name(server: SandboxServer, client: fal_client.SyncClient) -> None:
    url = server.put_media("talk.mp4", b"0123456789")
    assert httpx.head(url).headers["content-length"] == "10"
    assert httpx.get(url, headers={"Range": "bytes=2-4"}).content == b"234"
    assert httpx.put(f"{server.url}/media/.hidden", content=b"x").status_code == 400
    assert httpx.get(f"{server.url}/media/%2e%2e%2fledger.jsonl").status_code in (400, 404)
    assert httpx.put(f"{server.url}/sandbox/faults", json=[{"fault": "no such"}]).status_code == 422


def test_media_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    with sandbox_server(tmp_path, media_bytes=100) as small:
        assert httpx.put(f"{small.url}/media/big.bin", content=b"x" * 101).status_code == 413
        assert list((tmp_path / "media").iterdir()) == []


def test_prices_and_billable_units(server: SandboxServer, client: fal_client.SyncClient) -> None:
    def asked(*models: str) -> httpx.Response:
        url = f"{server.fal_api_url}/v1/models/pricing"
        return httpx.get(url, params={"endpoint_id": list(models)}, headers=AUTH)

    prices = asked("fal-ai/flux/schnell", TRAINER).json()["prices"]
    assert [(price["endpoint_id"], price["unit_price"], price["unit"]) for price in prices] == [
        ("fal-ai/flux/schnell", 0.003, "megapixels"),
        (TRAINER, 0.002, "steps"),
    ]
    refused = asked("fal-ai/flux/schnell", "some/model")  # fails the whole batch, as at fal
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found")
    (other,) = asked("fal-ai/veo3.1").json()["prices"]
    assert (other["unit_price"], other["unit"]) == (0.4, "seconds")
    handle = client.submit("fal-ai/flux/schnell", {"prompt": "a cat", "num_images": 2, "image_size": "square"})
    handle.get(interval=0.02)
    assert httpx.get(handle.response_url, headers=AUTH).headers["x-fal-billable-units"] == "2"
    assert server.ledger()["total_usd"] == "0.006000"


def test_billing_events_need_a_key_with_the_permission(server: SandboxServer, client: fal_client.SyncClient) -> None:
    def asked(key: str, **params: Any) -> httpx.Response:
        url = f"{server.fal_api_url}/v1/models/billing-events"
        return httpx.get(url, params=params, headers={"Authorization": f"Key {key}"})

    handles = [client.submit("fal-ai/flux/schnell", {"prompt": "a cat", "image_size": "square"}) for _ in range(3)]
    for handle in handles:
        handle.get(interval=0.02)
    ids = [handle.request_id for handle in handles]
    assert asked("test", request_id=ids).status_code == 403
    assert asked("wrong").status_code == 401
    (event,) = asked("billing-1", request_id=[ids[1], "no-such-request"]).json()["billing_events"]
    assert (event["request_id"], event["endpoint_id"]) == (ids[1], "fal-ai/flux/schnell")
    assert (event["cost_total"], event["cost_estimate_nano_usd"]) == (0.003, 3_000_000)
    assert (event["output_units"], event["unit_price"], event["percent_discount"]) == (1, 0.003, 0)
    first = asked("billing-1", request_id=ids, limit=2).json()
    assert (len(first["billing_events"]), first["has_more"]) == (2, True)
    rest = asked("billing-1", request_id=ids, limit=2, cursor=first["next_cursor"]).json()
    assert (len(rest["billing_events"]), rest["has_more"], rest["next_cursor"]) == (1, False, None)
    assert {each_event["request_id"] for each_event in (*first["billing_events"], *rest["billing_events"])} == set(ids)
    assert asked("billing-1", request_id=ids, end="2020-01-02", start="2020-01-01").json()["billing_events"] == []
    assert asked("billing-1", start="2020-01-01").status_code == 400, "90 days at most"
    assert asked("billing-1", request_id=["x"] * 51).status_code == 400
    server.arm({"fault": "billing_error"})
    assert asked("billing-1", request_id=ids).status_code == 500
    assert asked("billing-1", request_id=ids).status_code == 200
