"""Addresses and keys of a run, from the environment: the operator's own settings of base URLs, and a person's keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contentgen_operator.providers.keyfile import ProviderSettings
from contentgen_operator.providers.table import SHIPPED

BUILD = Path(__file__).resolve().parents[3] / "build/real"
FOLDER = "REAL_API_FOLDER"
FAL, FAL_ADMIN, ASSEMBLYAI = "FAL_KEY", "FAL_ADMIN_KEY", "ASSEMBLYAI_API_KEY"
BUCKET = ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY")
CLUSTER = "KUBE_CONTEXT"
_EUROPE = "https://api.eu.assemblyai.com"  # AssemblyAI's own too, and paid
SECRETS = (FAL, FAL_ADMIN, ASSEMBLYAI, "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN")
"""Variables whose values are never printed."""


@dataclass(frozen=True)
class ProviderPlace:
    """Base URLs, by CONTENTGEN_FAL_QUEUE_URL, CONTENTGEN_FAL_API_URL and CONTENTGEN_ASSEMBLYAI_URL, else those of the
    providers themselves. `stand_ins` are those that are not the providers' own.
    """

    fal_queue: str
    fal_api: str
    assemblyai: str
    stand_ins: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "ProviderPlace":
        """Raises pydantic.ValidationError for a malformed setting."""
        own = {name: SHIPPED.clients[name].urls for name in ("fal", "assemblyai")}
        urls = {name: {**own[name], **ProviderSettings.of(name, environment).urls} for name in own}
        used = (urls["fal"]["queue_url"], urls["fal"]["api_url"], urls["assemblyai"]["url"])
        real = {_EUROPE} | {url for of_provider in own.values() for url in of_provider.values()}
        queue, api, assemblyai = (url.rstrip("/") for url in used)
        stand_ins = tuple(url for url in (queue, api, assemblyai) if url not in real)
        return cls(queue, api, assemblyai, stand_ins, environment)

    @property
    def simulated(self) -> bool:
        """True if all addresses are stand-ins. One real provider is enough to pay."""
        return len(self.stand_ins) == len((self.fal_queue, self.fal_api, self.assemblyai))

    @property
    def pause(self) -> float:
        """Polling interval in seconds."""
        return 0.02 if self.simulated else 5

    @property
    def folder(self) -> Path:
        """Folder of journal and shapes; stand-ins alone have their own, since they cost nothing."""
        given = self.environment.get(FOLDER)
        return Path(given) if given else BUILD / "stand-in" if self.simulated else BUILD

    def key(self, variable: str) -> str:
        """A key; empty: not set."""
        return self.environment.get(variable, "")
