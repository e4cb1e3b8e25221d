"""Settings from environment variables: `SANDBOX_…` for the providers, and those of the store programs."""

import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="contentgen-sandbox-"))


class SandboxSettings(BaseSettings):
    """Settings of the provider server. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_", frozen=True)

    data: Path = Field(default_factory=_temporary)
    host: str = "0.0.0.0"  # noqa: S104 - it is reached through a Kubernetes Service
    port: int = Field(default=8080, ge=0, le=65535)
    training_seconds: float = Field(default=6, ge=0, le=3600)
    image_seconds: float = Field(default=1, ge=0, le=3600)
    transcript_seconds: float = Field(default=2, ge=0, le=3600)
    media_bytes: int = Field(default=2048 * MIB, gt=0)
    download_bytes: int = Field(default=2048 * MIB, gt=0)
    download_seconds: float = Field(default=120, gt=0)
    kept_jobs: int = Field(default=500, gt=0)
    """Finished requests and their files beyond this number are forgotten, oldest first."""
    fal_parallel: int = Field(default=8, ge=1, le=40)
    """Requests of a fal account in progress; others wait in the queue. fal has 2 for new accounts, 40 at most."""
    assemblyai_parallel: int = Field(default=8, ge=1, le=200)
    """Likewise for AssemblyAI: 5 for free accounts, 200 for paid ones."""
    megapixel: int = Field(default=1024 * 1024, ge=1)
    """Pixels of a billed megapixel. No source tells whether fal means 1024 x 1024 or 1,000,000 pixels."""
    recorded_prices: bool = False
    """The pricing endpoint returns recorded amounts also where they contradict fal's published price, such as ten times
    the price of a training's step. Charges follow the published price, so the billable units are then others.
    """
    assemblyai_default: Literal["new", "universal-3-5-pro", "universal-2"] = "new"
    """Account whose default the requests without `speech_models` get: one created since 17 November 2026, or an older
    one by its former default model.
    """


class SandboxStoreSettings(BaseSettings):
    """Settings of the embedded S3 and MongoDB servers."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_", frozen=True, populate_by_name=True)

    data: Path = Field(default_factory=_temporary)
    host: str = "0.0.0.0"  # noqa: S104 - they are reached through Kubernetes Services
    s3_port: int = Field(default=7070, ge=1, le=65535)
    mongo_port: int = Field(default=27017, ge=1, le=65535)
    versitygw: Path = Field(default=Path("/opt/sandbox/versitygw"), validation_alias="VERSITYGW")
    mongo_jars: Path = Field(default=Path("/opt/sandbox/mongo"), validation_alias="MONGO_JARS")
    root_access_key: str = Field(validation_alias="ROOT_ACCESS_KEY", min_length=1)
    root_secret_key: str = Field(validation_alias="ROOT_SECRET_KEY", min_length=8)
