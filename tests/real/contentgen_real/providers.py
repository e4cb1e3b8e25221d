"""Providers for the tests: our adapters, uploads of inputs, and the raw responses of the providers' histories."""

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
from contentgen_operator.providers.table import SHIPPED

BUILD = Path(__file__).resolve().parents[3] / "build/real"
Json = dict[str, Any]


@dataclass(frozen=True)
class BuildPlace:
    """Real providers, or a sandbox with the same HTTP API; only URLs and polling intervals differ."""

    fal_url: str
    fal_api_url: str
    assemblyai_url: str
    pause: float  # polling interval in seconds
    fal_key: str
    assemblyai_key: str
    stand_in: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "BuildPlace":
        """URLs below `REAL_API_BASE` if it is set, else the operator's defaults."""
        fal_key, assemblyai_key = environment.get("FAL_KEY", ""), environment.get("ASSEMBLYAI_API_KEY", "")
        base = environment.get("REAL_API_BASE", "").rstrip("/")
        if base:
            return cls(f"{base}/fal", f"{base}/fal-api", f"{base}/assemblyai", 0.05, fal_key, assemblyai_key, base)
        fal, assemblyai = (SHIPPED.clients[name].urls for name in ("fal", "assemblyai"))
        return cls(fal["queue_url"], fal["api_url"], assemblyai["url"], 5, fal_key, assemblyai_key)

    def fal(self, folder: Path) -> Fal:
        """The operator's adapter."""
        return Fal(_key_file(folder / "fal", self.fal_key), self.fal_url, self.fal_api_url)

    def assemblyai(self, folder: Path) -> AssemblyAI:
        """The operator's adapter."""
        return AssemblyAI(_key_file(folder / "assemblyai", self.assemblyai_key), self.assemblyai_url)

    async def publish(self, content: bytes) -> str:
        """Upload a training set to fal's storage, free of charge. The operator passes presigned URLs instead."""
        if not self.stand_in:
            return str(await fal_client.AsyncClient(key=self.fal_key).upload(content, "application/zip"))
        url = f"{self.stand_in}/media/real-{secrets.token_hex(6)}.zip"
        async with httpx.AsyncClient(timeout=60) as client:
            (await client.put(url, content=content)).raise_for_status()
        return url

    async def publish_sound(self, content: bytes) -> str:
        """Upload to AssemblyAI, free of charge."""
        async with httpx.AsyncClient(timeout=60) as client:
            headers = {"authorization": self.assemblyai_key}
            reply = await client.post(f"{self.assemblyai_url}/v2/upload", content=content, headers=headers)
        return str(reply.raise_for_status().json()["upload_url"])

    async def fal_history(self, model: str) -> Json:
        """Raw response of fal's history."""
        query = {"endpoint_id": model, "expand": "payloads", "limit": "5"}
        headers = {"Authorization": f"Key {self.fal_key}"}
        return await _get(f"{self.fal_api_url}/v1/models/requests/by-endpoint", query, headers)

    async def assemblyai_history(self) -> Json:
        """Raw response of AssemblyAI's list of transcripts."""
        return await _get(
            f"{self.assemblyai_url}/v2/transcript", {"limit": "5"}, {"authorization": self.assemblyai_key}
        )

    def record(self, name: str, document: Json) -> None:
        """Store the shape of a response for comparison with the sandbox's: `diff build/real/{real,sandbox}-…`."""
        BUILD.mkdir(parents=True, exist_ok=True)
        path = BUILD / f"{'sandbox' if self.stand_in else 'real'}-{name}.json"
        new = path.with_suffix(f".{os.getpid()}")  # atomic replacement, because parallel tests read the file
        new.write_text(json.dumps({"seen": f"{datetime.now(UTC):%Y-%m-%d}", "shape": shape(document)}, indent=2))
        new.replace(path)


def shape(value: Any) -> Any:
    """JSON value with types in place of values, so that no prompt, URL or key is written to a file."""
    match value:
        case dict():
            return {name: shape(value[name]) for name in sorted(value)}
        case list():
            return [shape(element) for element in value[:1]]
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
