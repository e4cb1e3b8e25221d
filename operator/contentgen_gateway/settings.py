"""The gateway's settings: environment variables with the prefix CONTENTGEN_, which the chart fills."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.resources.namespaces import LabelSelector, Namespace
from contentgen_contract.resources.operator_class import DEFAULT_CLASS


class Settings(BaseSettings):
    """Each field is documented in the chart's values."""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", env_ignore_empty=True, frozen=True)

    watch_namespaces: tuple[Namespace, ...] = ()
    watch_namespace_selector: LabelSelector | None = None
    operator_class: str = Field(
        DEFAULT_CLASS, description="The class of the resources that it creates, shows and changes: the operator's own."
    )
    log_format: Literal["json", "plain"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    mongodb_uri: str = "mongodb://localhost:27017/"
    mongodb_uri_file: Path | None = Field(
        None, description="A file with the URI, in its place; read again when it changes."
    )
    mongodb_database: str = "content-generation"

    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str = "content-generation-assets"
    s3_key_folder: Path | None = Field(
        None,
        description="Files access-key-id and secret-access-key, in place of the environment's; read again likewise.",
    )

    gateway_port: int = 8000
    gateway_metrics_port: int = Field(
        8001, description="Prometheus and the kubelet ask there, and nobody else need reach it."
    )
    gateway_sign_in: Literal["Token", "None"] = Field(
        "Token", description="None lets everybody do everything, and says so on every page: for the sandbox alone."
    )
    gateway_url: str = Field("", description="Where people reach it, such as https://content.example.com.")
    gateway_external_tls: bool = Field(
        False, description="Something before it ends TLS, so browsers are told that TLS is all there is."
    )
    gateway_files_endpoint: str = Field(
        "", description="Where people's browsers reach the bucket, if not at s3_public_endpoint."
    )
    gateway_requests_per_second: float = Field(20, gt=0, description="Of one caller, in the long run.")
    gateway_burst: int = Field(100, ge=1, description="Requests that a caller may make at once.")
    gateway_streams_per_caller: int = Field(100, ge=1, description="Streams that a caller may have open.")
    gateway_request_seconds: float = Field(30, gt=0, description="A request that takes longer is given up.")
    gateway_body_bytes: int = Field(1_048_576, ge=1024, description="The longest body of a request.")
    gateway_drain_seconds: float = Field(5, ge=0, description="It serves for so long after it was told to stop.")
    gateway_trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses and networks whose word is taken for a client's address."
    )
    orphan_retention_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="As the operator's: how long the result of a purchase without a resource is kept.",
    )
    gateway_storage_dollars_per_gb: float = Field(0.023, ge=0, description="What a GB costs in a month.")
