"""Sources in S3: grants by namespace and prefix; the operator's own bucket is refused."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import ValidationError

from contentgen_contract.records.ownership import NotOwned
from contentgen_contract.resources.sources import Address, SourceGrant, parse_s3_url, refusal
from contentgen_operator.settings import Settings
from contentgen_operator.stores.s3 import Storage

OWN = "assets"
TEAM = SourceGrant(bucket="recordings", prefix="team-a/", namespaces=("red",))
ALL = SourceGrant(bucket="shared", namespaces=("*",))


@pytest.mark.parametrize(
    ("namespace", "url"),
    [
        ("red", "s3://recordings/team-a/a.mp3"),
        ("red", "s3://recordings/team-a/2026/My talk (1).mp3"),
        ("red", "s3://recordings/team-a/50%25.mp3"),
        ("blue", "s3://shared/a.mp3"),
        ("red", "s3://shared/a/b.mp3"),
    ],
)
def test_granted_source_is_read(namespace: str, url: str) -> None:
    assert refusal(url, namespace, (TEAM, ALL), OWN) is None


@pytest.mark.parametrize(
    ("namespace", "url", "says"),
    [
        ("blue", "s3://recordings/team-a/a.mp3", "namespace 'blue'"),
        ("red", "s3://recordings/team-b/a.mp3", "s3://recordings/team-a/"),
        ("red", "s3://recordings/team-a", "s3://recordings/team-a/"),
        ("red", "s3://recordings/team-ab/a.mp3", "s3://recordings/team-a/"),
        ("red", "s3://recordings2/team-a/a.mp3", "recordings2"),
        ("red", "s3://recordings/team-a/../team-b/a.mp3", "'..'"),
        ("red", "s3://recordings/team-a/%2e%2E/team-b/a.mp3", "'..'"),
        ("red", "s3://recordings/team-a/./a.mp3", "'.'"),
        ("red", "s3://recordings/team-a//a.mp3", "empty"),
        ("red", "s3://recordings//team-a/a.mp3", "empty"),
        ("red", "s3://recordings/team-a/%2Fa.mp3", "empty"),
        ("red", "s3://recordings/team-a\\..\\team-b/a.mp3", "backslash"),
        ("red", "s3://recordings/team-a/", "no file"),
        ("red", "s3://recordings", "no file"),
        ("red", "s3://RECORDINGS/team-a/a.mp3", "bucket"),
        ("red", "s3://recordings:443/team-a/a.mp3", "bucket"),
        ("red", "s3://arn:aws:s3:eu-central-1:1:accesspoint/recordings/team-a/a.mp3", "bucket"),
        ("red", "https://recordings/team-a/a.mp3", "s3://"),
    ],
)
def test_source_without_a_grant_is_refused_with_a_message(namespace: str, url: str, says: str) -> None:
    why = refusal(url, namespace, (TEAM, ALL), OWN)
    assert why is not None
    assert says in why


@pytest.mark.parametrize("bucket", ["assets", "Assets", "ASSETS", "assets.", "assets:443", "assets%2e", "%61ssets"])
def test_the_operators_own_bucket_is_no_source_in_any_spelling(bucket: str) -> None:
    granted = SourceGrant.model_construct(bucket=bucket, prefix="", namespaces=("*",))
    assert refusal(f"s3://{bucket}/loras/a/b/v1/model.safetensors", "red", (granted,), OWN) is not None


@pytest.mark.parametrize("prefix", ["team-a", "/team-a/", "a//b/", "../", "a/../b/", "./"])
def test_a_grants_prefix_is_whole_folders(prefix: str) -> None:
    with pytest.raises(ValidationError):
        SourceGrant(bucket="recordings", prefix=prefix, namespaces=("red",))


def test_a_grant_names_its_namespaces() -> None:
    with pytest.raises(ValidationError):
        SourceGrant(bucket="recordings", namespaces=())
    with pytest.raises(ValidationError):
        SourceGrant(bucket="recordings")  # type: ignore[call-arg]  # that it is missing is the test


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield Storage(bucket=OWN, region="us-east-1", endpoint="http://s3:9000", public_endpoint=None)


@pytest.mark.parametrize("key", ["a.mp3", "2026/My talk (1).mp3", "50%25.mp3", "ä+b&c=d.mp3", "a~!*'().mp3"])
def test_the_key_that_is_compared_is_the_key_that_is_signed(key: str, storage: Storage) -> None:
    address = parse_s3_url(f"s3://shared/{key}")
    assert isinstance(address, Address)
    assert address == ("shared", key)
    signed = urlsplit(storage.source_get(address, timedelta(hours=1)))
    assert unquote(signed.path) == f"/shared/{key}"


@pytest.mark.parametrize("key", ["a.mp3?x=1", "a.mp3#x", "a?.mp3"])
def test_a_query_or_fragment_is_refused_and_not_dropped(key: str) -> None:
    assert isinstance(parse_s3_url(f"s3://shared/{key}"), str)


def test_the_signer_takes_no_object_of_the_own_bucket(storage: Storage) -> None:
    with pytest.raises(NotOwned):
        storage.source_get(Address(OWN, "loras/a/b/v1/model.safetensors"), timedelta(hours=1))


def test_settings_take_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    given = '[{"bucket": "recordings", "prefix": "team-a/", "namespaces": ["red"]}]'
    monkeypatch.setenv("CONTENTGEN_SOURCES", given)
    assert Settings().sources == (TEAM,)
    broken: Any = '[{"bucket": "recordings"}]'
    monkeypatch.setenv("CONTENTGEN_SOURCES", broken)
    with pytest.raises(ValidationError):
        Settings()
