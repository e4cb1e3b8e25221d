"""`kubectl contentgen download`: files through the gateway's signed URLs, and the token made with the kubeconfig."""

import hashlib
import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contentgen_cli import __main__

WEIGHTS = b"weights" * 400_000
STORED = {"model.safetensors": WEIGHTS, "config.json": b"{}", "dataset.zip": b"PK"}
UID = "00000000-0000-4000-8000-000000000001"
PLACE = "/apis/contentgen.dev/v1alpha1/namespaces/demo/loratrainings/avatar"
TOKENS = "/api/v1/namespaces/demo/serviceaccounts/default/token"
SHA = {name: hashlib.sha256(content).hexdigest() for name, content in STORED.items()}


def version(number: int) -> dict[str, Any]:
    files = [
        {"key": f"loras/demo/{UID}/v{number}/{name}", "sizeBytes": len(STORED[name]), "sha256": SHA[name]}
        for name in ("model.safetensors", "config.json")
    ]
    return {"version": number, "runHash": "h", "files": files}


class Servers:
    """API server, gateway and store at one address."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.stored = dict(STORED)
        self.token: tuple[int, Any] = (201, {"status": {"token": "made"}})

    def answer(self, path: str, authorization: str | None, body: Any) -> tuple[int, bytes]:
        parts = urlsplit(path)
        self.asked.append(path.partition("?")[0])
        if parts.path == TOKENS:
            assert body["spec"]["audiences"] == ["contentgen-gateway"]
            return self.token[0], json.dumps(self.token[1]).encode()
        if parts.path == PLACE:
            meta = {
                "name": "avatar", "namespace": "demo", "uid": UID, "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2026-11-21T07:00:00Z",
            }  # fmt: skip
            status = {"phase": "Completed", "versions": [version(1), version(2)]}
            return 200, json.dumps({"metadata": meta, "spec": {}, "status": status}).encode()
        if parts.path == f"/api/assets/{UID}/download":
            assert authorization in ("Bearer made", "Bearer given")
            given = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if given["file"] not in self.stored:
                return 404, json.dumps({"detail": "no such file"}).encode()
            url = f"{self.url}/bucket/v{given['version']}/{given['file']}?X-Amz-Signature=secret"
            return 200, json.dumps({"url": url}).encode()
        if parts.path.startswith("/bucket/"):
            assert authorization is None, "the store gets no token"
            return 200, self.stored[parts.path.rpartition("/")[2]]
        return 404, json.dumps({"message": "not found"}).encode()


@pytest.fixture
def servers(
    serve: Callable[..., str], use_cluster: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Servers:
    made = Servers()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """No log output."""

        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(sent) if sent else None
            status, content = made.answer(self.path, self.headers.get("Authorization"), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - http.server's name

    made.url = serve(Handler)
    use_cluster(made.url)
    monkeypatch.setenv("CONTENTGEN_GATEWAY", made.url)
    monkeypatch.delenv("CONTENTGEN_TOKEN", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


@pytest.fixture
def run(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["kubectl-contentgen", "download", "lora/avatar", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return int(ended.value.code or 0)

    return command


def here() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_newest_version_is_downloaded_with_the_kubeconfigs_token(
    servers: Servers, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert here() == {f"avatar-v2/{name}": STORED[name] for name in ("model.safetensors", "config.json")}
    assert capsys.readouterr().out.splitlines() == ["avatar-v2/model.safetensors", "avatar-v2/config.json"]
    assert TOKENS in servers.asked
    assert {text for text in servers.asked if text.startswith("/bucket/")} == {
        "/bucket/v2/model.safetensors", "/bucket/v2/config.json"
    }  # fmt: skip
    asked = len(servers.asked)
    assert run() == 0, "what is there stays"
    assert not [text for text in servers.asked[asked:] if text.startswith("/bucket/")]


def test_file_of_an_older_version_is_downloaded_into_a_folder(servers: Servers, run: Callable[..., int]) -> None:
    assert run("--version", "1", "--file", "dataset.zip", "--to", "a/b", "--token", "given") == 0
    assert here() == {"a/b/dataset.zip": b"PK"}
    assert "/bucket/v1/dataset.zip" in servers.asked
    assert TOKENS not in servers.asked


@pytest.mark.parametrize(
    ("case", "words", "told"),
    [
        ("changed", (), "do not have the checksum"),
        ("too large", (), f"more than {len(WEIGHTS)} bytes"),
        ("missing", ("--file", "preview.png"), "the gateway returned 404"),
        ("path", ("--file", "../x"), "is not the name of a file"),
        ("there", (), "exists, and may be another file"),
        ("no version", ("--version", "7"), "existing versions: 1, 2"),
        ("no token", (), "permission denied"),
    ],
)
def test_failed_download_leaves_no_file(
    servers: Servers,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    *,
    case: str,
    words: tuple[str, ...],
    told: str,
) -> None:
    if case == "changed":
        servers.stored["model.safetensors"] = b"other"
    if case == "too large":
        servers.stored["model.safetensors"] = WEIGHTS * 3
    if case == "there":
        Path("avatar-v2").mkdir()
        Path("avatar-v2/model.safetensors").write_bytes(b"mine")
    if case == "no token":
        servers.token = (403, {"message": 'serviceaccounts "default" is forbidden'})
    before = here()
    assert run(*words) == 1
    captured = capsys.readouterr()
    assert told in captured.err
    assert "secret" not in captured.err
    assert here() == before
