"""What the operator tells a worker pod through its environment."""

import tempfile
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.names import TOKEN_FOLDER

VISION_MODEL = Path("/opt/contentgen/vision")


class Settings(BaseSettings):
    """CONTENTGEN_*"""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", frozen=True)

    desk_url: str = Field(description="Where the desk is, such as https://contentgen-desk.contentgen.svc:8443.")
    desk_ca: str = Field("", description="PEM of the only CA that the desk's certificate may come from.")
    token_file: Path = Field(Path(TOKEN_FOLDER) / "token", description="The kubelet's token; it changes while we run.")
    scratch: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()), description="The only folder we write into."
    )
    vision_model: Path = Field(VISION_MODEL, description="Folder of the model that writes captions.")
    deadline_seconds: int = Field(0, ge=0, description="When the Job is ended; 0 where nobody says so.")
    patience_scale: float = Field(1.0, gt=0, description="Multiplies every waiting time; for tests.")
