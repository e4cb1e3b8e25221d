"""Environment variables that the operator sets on a worker pod."""

import tempfile
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.names import TOKEN_FOLDER

VISION_MODEL = Path("/opt/contentgen/vision")


class Settings(BaseSettings):
    """Settings from `CONTENTGEN_*` variables."""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", frozen=True)

    worker_api_url: str = Field(
        description="URL of the worker API, such as https://contentgen-worker-api.contentgen.svc:8443."
    )
    worker_api_ca: str = Field("", description="PEM of the only CA that may sign the worker API's certificate.")
    token_file: Path = Field(
        Path(TOKEN_FOLDER) / "token", description="Projected service account token; the kubelet rotates it."
    )
    scratch: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()), description="The only writable folder.")
    vision_model: Path = Field(VISION_MODEL, description="Folder of the captioning model.")
    deadline_seconds: int = Field(0, ge=0, description="Seconds until the pod's deadline; 0 if it has none.")
    patience_scale: float = Field(1.0, gt=0, description="Factor on all retry delays and timeouts; for tests.")
