"""Settings from environment variables: `SANDBOX_…` for the providers, and those of the store programs."""

import tempfile
from pathlib import Path

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
