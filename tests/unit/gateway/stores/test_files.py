"""Signed URLs for people: equal to boto3's, and stable for some minutes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials

from contentgen_contract.records.content_types import content_type_of
from contentgen_gateway.stores.files import BucketFiles
from contentgen_simulation.gateway.server import session

KEYS = ("loras/ann/j1/v2/model.safetensors", "transcripts/ann/j 1/v1/transcript.txt", "loras/a+b/j~1/v1/config.json")
PLACES: dict[str, dict[str, Any]] = {
    "an endpoint": {"endpoint": "http://s3.test:7070", "public_endpoint": None},
    "another for people": {"endpoint": "http://s3.test", "public_endpoint": "https://files.example.com/"},
    "a third for browsers": {
        "endpoint": "http://s3.test",
        "public_endpoint": "http://s3.ns.svc",
        "people_endpoint": "http://localhost:5001/",
    },
    "AWS, by a proxy of one's own": {"endpoint": None, "public_endpoint": None, "people_endpoint": "https://f.example"},
    "a port that needs no name": {"endpoint": "https://S3.test:443/below", "public_endpoint": None},
    "an address of IPv6": {"endpoint": "http://[::1]:7070", "public_endpoint": None},
    "AWS": {"endpoint": None, "public_endpoint": None, "region": "eu-central-1"},
}


def made(place: dict[str, Any], token: str | None = None) -> BucketFiles:
    files = BucketFiles(**({"bucket": "content", "region": "us-east-1", "session": session()} | place))
    files._credentials = Credentials("AKIA", "secret", token)
    return files


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("token", [None, "of/a+session=="])
def test_signature_equals_that_of_boto3(
    place: str, key: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = made(PLACES[place], token)
    client = files._client
    if other := PLACES[place].get("people_endpoint") or PLACES[place]["public_endpoint"]:
        client = made({"endpoint": other, "public_endpoint": None})._client
    client._request_signer._credentials = files._credentials
    name = key.rpartition("/")[2]
    params = {
        "Bucket": "content",
        "Key": key,
        "ResponseContentDisposition": f'attachment; filename="{name}"',
        "ResponseContentType": content_type_of(name),
    }
    url = files.url(key, timedelta(minutes=5))
    query = parse_qs(urlsplit(url).query)
    now = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr("botocore.crt.auth.get_current_datetime", lambda **_: now)
    theirs = client.generate_presigned_url("get_object", Params=params, ExpiresIn=300)
    assert url.partition("?")[0] == theirs.partition("?")[0]
    assert query == parse_qs(urlsplit(theirs).query)  # the signature among it, which is of the parameters in order
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=5)


def test_shown_url_is_stable_for_five_minutes_on_all_replicas() -> None:
    now = 1_000_000_200.0
    own = PLACES["an endpoint"] | {"clock": lambda: datetime.fromtimestamp(now, UTC)}
    replicas = [made(own), made(own)]
    address = "http://s3.test:7070/content/" + KEYS[0]
    first = {replica.resolve_address(address) for replica in replicas}
    now += 299
    assert {replica.resolve_address(address) for replica in replicas} == first
    now += 1
    second = {replica.resolve_address(address) for replica in replicas}
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    query = parse_qs(urlsplit(str(second.pop())).query)
    assert query["X-Amz-Date"] == ["20010909T015500Z"], "when these five minutes began"
    assert query["X-Amz-Expires"] == ["900"]


@pytest.mark.parametrize(
    ("name", "content_type", "shown"),
    [
        ("image_1.png", "image/png", "inline"),
        ("preview.jpg", "image/jpeg", "inline"),
        ("audio.flac", "audio/flac", "inline"),
        ("transcript.txt", "text/plain; charset=utf-8", "inline"),
        ("transcript.json", "application/json", "attachment"),
        ("transcript.vtt", "text/vtt", "attachment"),
        ("transcript.srt", "application/x-subrip", "attachment"),
        ("dataset.zip", "application/zip", "attachment"),
        ("model.safetensors", "application/octet-stream", "attachment"),
        ("page.html", "application/octet-stream", "attachment"),
        ("picture.svg", "application/octet-stream", "attachment"),
        ("png", "application/octet-stream", "attachment"),
    ],
)
def test_the_name_decides_what_a_browser_makes_of_a_file(name: str, content_type: str, shown: str) -> None:
    """Not the content type that a worker stored."""
    files = made(PLACES["an endpoint"])
    key = f"transcripts/ann/j1/{name}"
    for url, disposition in ((files.display_url(key), shown), (files.url(key), "attachment")):
        query = parse_qs(urlsplit(url).query)
        assert query["response-content-type"] == [content_type]
        assert query["response-content-disposition"] == [f'{disposition}; filename="{name}"']


def test_only_outputs_are_signed_and_foreign_urls_stay() -> None:
    files = made(PLACES["an endpoint"])
    assert files.resolve_address("http://s3.test:7070/content/temp/x.png") is None
    assert files.resolve_address("https://elsewhere.example.com/x.png") == "https://elsewhere.example.com/x.png"
    assert [files.resolve_address(None), files.resolve_address(""), files.resolve_address(7)] == [None, None, None]


def test_records_keep_their_address_and_people_get_theirs() -> None:
    files = made(PLACES["a third for browsers"])
    assert files.address(KEYS[0]) == f"http://s3.ns.svc/content/{KEYS[0]}"
    shown = files.resolve_address(files.address(KEYS[0]))
    assert shown is not None
    assert shown.startswith(f"http://localhost:5001/content/{KEYS[0]}?")
    assert files.origin == "http://localhost:5001", "what the Content-Security-Policy lets pictures come from"


@pytest.mark.parametrize("place", PLACES)
def test_signed_url_is_recognised(place: str) -> None:
    """From a record's address and from a signed URL: loras[].path accepts both."""
    files = made(PLACES[place])
    for key in KEYS:
        assert files.key_of(files.address(key)) == key
        assert files.key_of(files.display_url(key)) == key
    assert files.key_of(f"http://localhost:5002/content/{KEYS[0]}") is None
    assert files.key_of("s3://[content/x") is None
