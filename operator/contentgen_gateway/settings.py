"""Settings of the gateway: environment variables with the prefix CONTENTGEN_, set by the chart."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.resources.namespaces import LabelSelector, Namespace
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_runtime.http_server.servers import ANY_ADDRESS


class Settings(BaseSettings):
    """Settings; the chart's values document each of them."""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", env_ignore_empty=True, frozen=True)

    watch_namespaces: tuple[Namespace, ...] = ()
    watch_namespace_selector: LabelSelector | None = None
    operator_class: str = Field(
        DEFAULT_CLASS, description="Operator class of the resources that the gateway creates, lists and changes."
    )
    log_format: Literal["json", "plain"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    mongodb_uri: str = "mongodb://localhost:27017/"
    mongodb_uri_file: Path | None = Field(
        None, description="File with the URI, which replaces mongodb_uri; read again when it changes."
    )
    mongodb_database: str = "content-generation"

    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_bucket: str = "content-generation-assets"
    s3_key_folder: Path | None = Field(
        None,
        description="Folder of access-key-id and secret-access-key, read again when they change; None: environment.",
    )

    ca_file: Path | None = Field(
        None, description="PEM file with CAs that S3 may have besides the public ones; read again on change."
    )

    listen_address: str = Field(ANY_ADDRESS, description="Address of the servers; not set in a pod.")
    gateway_port: int = 8000
    gateway_metrics_port: int = Field(8001, description="Port for Prometheus and the kubelet.")
    gateway_sign_in: Literal["Token", "None"] = Field(
        "Token",
        description="None: no authentication and no authorization, with a warning on every page; for the sandbox only.",
    )
    gateway_url: str = Field("", description="Public URL, such as https://content.example.com.")
    gateway_external_tls: bool = Field(
        False, description="TLS ends at a proxy in front of the gateway; responses have an HSTS header."
    )
    gateway_files_endpoint: str = Field("", description="S3 endpoint for browsers; empty: s3_public_endpoint.")
    gateway_requests_per_second: float = Field(20, gt=0, description="Sustained request rate of one caller.")
    gateway_burst: int = Field(100, ge=1, description="Burst of requests of one caller.")
    gateway_streams_per_caller: int = Field(100, ge=1, description="Open streams of one caller.")
    gateway_request_seconds: float = Field(30, gt=0, description="Timeout of a request, in seconds.")
    gateway_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body, in bytes.")
    gateway_drain_seconds: float = Field(5, ge=0, description="Seconds between SIGTERM and the end of service.")
    gateway_trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses and networks of proxies whose X-Forwarded-For header is trusted."
    )
    gateway_webhook_keys_file: Path | None = Field(
        None, description="File with the public keys of notifications, mounted from the operator's Secret."
    )
    orphan_retention_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days that the result of a purchase without a resource is kept; the same as the operator's.",
    )
    gateway_storage_dollars_per_gb: float = Field(
        0.023, ge=0, description="Price of a GB of storage for a month, in dollars."
    )
