"""The providers as the tests reach them: ours, their inputs' uploads, and their histories as they answer them."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fal_client
import httpx

from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.settings import Settings

BUILD = Path(__file__).resolve().parents[3] / "build/real"
Json = dict[str, Any]


@dataclass(frozen=True)
class BuildPlace:
    """Real, or a sandbox that speaks the same HTTP: then only addresses and pauses differ."""

    fal_url: str
    fal_api_url: str
    assemblyai_url: str
    pause: float  # seconds between two looks
    fal_key: str
    assemblyai_key: str
    stand_in: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "BuildPlace":
        """Where `REAL_API_BASE` says, else where the operator goes without settings of its own."""
        fal_key, assemblyai_key = environment.get("FAL_KEY", ""), environment.get("ASSEMBLYAI_API_KEY", "")
        base = environment.get("REAL_API_BASE", "").rstrip("/")
        if base:
            return cls(f"{base}/fal", f"{base}/fal-api", f"{base}/assemblyai", 0.05, fal_key, assemblyai_key, base)
        names = ("fal_queue_url", "fal_api_url", "assemblyai_url")
        fal, api, assemblyai = (str(Settings.model_fields[name].default) for name in names)
        return cls(fal, api, assemblyai, 5, fal_key, assemblyai_key)

    def fal(self, folder: Path) -> Fal:
        """The operator's adapter."""
        return Fal(_key_file(folder / "fal", self.fal_key), self.fal_url, self.fal_api_url)

    def assemblyai(self, folder: Path) -> AssemblyAI:
        """The operator's adapter."""
        return AssemblyAI(_key_file(folder / "assemblyai", self.assemblyai_key), self.assemblyai_url)

    async def publish(self, content: bytes) -> str:
        """Puts a training set where fal can fetch it; free. The operator hands over presigned URLs instead."""
        if not self.stand_in:
            return str(await fal_client.AsyncClient(key=self.fal_key).upload(content, "application/zip"))
        url = f"{self.stand_in}/media/real-{secrets.token_hex(6)}.zip"
        async with httpx.AsyncClient(timeout=60) as client:
            (await client.put(url, content=content)).raise_for_status()
        return url

    async def publish_sound(self, content: bytes) -> str:
        """AssemblyAI's own upload; free."""
        async with httpx.AsyncClient(timeout=60) as client:
            headers = {"authorization": self.assemblyai_key}
            reply = await client.post(f"{self.assemblyai_url}/v2/upload", content=content, headers=headers)
        return str(reply.raise_for_status().json()["upload_url"])

    async def fal_history(self, model: str) -> Json:
        """fal's history as it answers it."""
        query = {"endpoint_id": model, "expand": "payloads", "limit": "5"}
        headers = {"Authorization": f"Key {self.fal_key}"}
        return await _get(f"{self.fal_api_url}/v1/models/requests/by-endpoint", query, headers)

    async def assemblyai_history(self) -> Json:
        """AssemblyAI's list as it answers it."""
        return await _get(
            f"{self.assemblyai_url}/v2/transcript", {"limit": "5"}, {"authorization": self.assemblyai_key}
        )

    def record(self, name: str, document: Json) -> None:
        """Keeps the shape of an answer, so that the sandbox's can be compared: `diff build/real/{real,sandbox}-…`."""
        BUILD.mkdir(parents=True, exist_ok=True)
        path = BUILD / f"{'sandbox' if self.stand_in else 'real'}-{name}.json"
        new = path.with_suffix(f".{os.getpid()}")  # whole or not at all: tests beside this one read it
        new.write_text(json.dumps({"seen": f"{datetime.now(UTC):%Y-%m-%d}", "shape": shape(document)}, indent=2))
        new.replace(path)


def shape(value: Any) -> Any:
    """The types in place of the values: nobody's prompt, address or key goes into a file."""
    match value:
        case dict():
            return {name: shape(value[name]) for name in sorted(value)}
        case list():
            return [shape(each) for each in value[:1]]
        case _:
            return "null" if value is None else type(value).__name__


def _key_file(path: Path, key: str) -> KeyFile:
    path.touch(mode=0o600)
    path.write_text(key)
    return KeyFile(str(path))


async def _get(url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Json:
    async with httpx.AsyncClient(timeout=60) as client:
        answer: Json = (await client.get(url, params=query, headers=headers)).raise_for_status().json()
    return answer
