"""Sessions of a workload identity, requested from a server that answers like STS and like a credentials agent."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from contentgen_contract.records.ownership import Owner
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3
from contentgen_runtime.s3 import RenewableCredentials
from contentgen_runtime.store_errors import SessionTooShort, short_text

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OWNER = Owner(folders=frozenset({"p/"}))


class Sessions(ThreadingHTTPServer):
    """STS (POST), and the agent that EKS Pod Identity and ECS have in a pod (GET)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[int] = []  # DurationSeconds of each request; 0: none
        self.most = 43200
        self.default = 3600
        self.refusal = "ValidationError"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begun(self, seconds: int) -> dict[str, str]:
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        number = len(self.asked)
        return {
            "AccessKeyId": f"id-{number}", "SecretAccessKey": "secret", "SessionToken": f"token-{number}",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip


class _Answer(BaseHTTPRequestHandler):
    server: Sessions

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert (form["WebIdentityToken"], form["RoleArn"]) == (["the token"], ["arn:aws:iam::123456789012:role/r"])
        wanted = int(form.get("DurationSeconds", ["0"])[0])
        self.server.asked.append(wanted)
        if wanted > self.server.most or self.server.refusal == "ExpiredToken":
            error = f"<Error><Type>Sender</Type><Code>{self.server.refusal}</Code><Message>no</Message></Error>"
            self._send(400, f"<ErrorResponse>{error}</ErrorResponse>".encode())
            return
        fields = self.server.begun(wanted or self.server.default)
        found = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        name = "AssumeRoleWithWebIdentity"
        result = f"<{name}Result><Credentials>{found}</Credentials></{name}Result>"
        self._send(200, f"<{name}Response>{result}</{name}Response>".encode())

    def do_GET(self) -> None:
        self.server.asked.append(0)
        fields = self.server.begun(self.server.default)
        self._send(200, json.dumps({**fields, "Token": fields["SessionToken"]}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sessions]:
    """A role of a workload identity, and nothing else in the environment."""
    token = tmp_path / "token"
    token.write_text("the token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    with Sessions() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.endpoint)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def agent(sts: Sessions, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """Pod Identity instead of the role."""
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    monkeypatch.delenv("AWS_ROLE_ARN")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{sts.endpoint}/v1/credentials")
    return sts


def storage(least: timedelta = HOUR / 2, seconds: int = 43200) -> Storage:
    return Storage(
        bucket="b",
        region="eu-central-1",
        endpoint="http://s3:9000",
        public_endpoint=None,
        provider_lifetime=DAY,
        least_lifetime=least,
        session=s3.session(duration=s3.SessionDuration("eu-central-1", seconds)),
    )


def url_of(made: Storage) -> tuple[int, str]:
    """Seconds and token of a provider's URL."""
    query = parse_qs(urlsplit(made.provider_get(OWNER, "p/a.zip")).query)
    return int(query["X-Amz-Expires"][0]), query["X-Amz-Security-Token"][0]


def is_about(seconds: int, wanted: int) -> bool:
    return wanted - 60 <= seconds <= wanted


async def test_a_session_lasts_as_long_as_the_role_allows(sts: Sessions) -> None:
    made = storage()
    await made.require_session()
    assert is_about(url_of(made)[0], 43200)
    assert sts.asked == [43200]


@pytest.mark.parametrize("refusal", ["ValidationError", "InvalidParameterValue", "InvalidArgument"])
async def test_a_refused_duration_is_replaced_by_the_default(sts: Sessions, refusal: str) -> None:
    sts.most, sts.refusal = 3600, refusal
    made = storage()
    await made.require_session()
    assert is_about(url_of(made)[0], 3600)
    assert sts.asked == [43200, 0]


async def test_another_refusal_of_sts_is_an_error(sts: Sessions) -> None:
    sts.refusal = "ExpiredToken"
    with pytest.raises(ClientError, match="ExpiredToken"):
        await storage().require_session()
    assert sts.asked == [43200]


async def test_a_session_that_ends_soon_is_renewed_before_signing(sts: Sessions) -> None:
    sts.most, sts.default = 0, 1200
    made = storage()
    with pytest.raises(SessionTooShort, match=r"ends in (19|20) min, and a provider needs 30 min"):
        await made.require_session()
    sts.default = 3600
    await made.require_session()
    seconds, token = url_of(made)
    assert is_about(seconds, 3600)
    assert token == "token-6", "of the third session; each was refused its duration once"
    await made.require_session()
    assert len(sts.asked) == 6, "long enough"


async def test_a_short_duration_of_the_settings_is_named(sts: Sessions) -> None:
    with pytest.raises(SessionTooShort, match=r"raise storage\.sessionSeconds") as raised:
        await storage(seconds=900).require_session()
    assert short_text(raised.value) == str(raised.value), "shown whole"
    assert sts.asked == [900, 900]


async def test_a_new_session_that_ends_earlier_replaces_nothing(sts: Sessions) -> None:
    sts.most, sts.default = 0, 1500
    made = storage()
    with pytest.raises(SessionTooShort):
        await made.require_session()
    _, kept = url_of(made)
    sts.default = 1000
    with pytest.raises(SessionTooShort):
        await made.require_session()
    assert url_of(made)[1] == kept


async def test_sessions_of_an_agent_are_asked_for_again(agent: Sessions) -> None:
    agent.default = 1200
    made = storage()
    with pytest.raises(SessionTooShort):
        await made.require_session()
    agent.default = 6 * 3600
    await made.require_session()
    assert is_about(url_of(made)[0], 6 * 3600)


async def test_an_access_key_does_not_end(sts: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = storage(least=DAY)
    await made.require_session()
    query = parse_qs(urlsplit(made.provider_get(OWNER, "p/a.zip")).query)
    assert (query["X-Amz-Expires"], sts.asked) == (["86400"], [])


def test_the_end_of_botocores_sessions_is_known(sts: Sessions) -> None:
    """The attribute is private: this fails with a version of botocore that has another one."""
    found: Any = s3.session(duration=s3.SessionDuration("eu-central-1", 900)).get_credentials()
    assert isinstance(found, RenewableCredentials)
    assert found.lasts(datetime.now(UTC)) is None, "STS is asked at the first use"
    found.get_frozen_credentials()
    left = found.lasts(datetime.now(UTC))
    assert left is not None
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
