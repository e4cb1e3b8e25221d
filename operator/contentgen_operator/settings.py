"""The operator's settings: environment variables with the prefix CONTENTGEN_, which the chart fills."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.patterns import OPERATOR_CLASS
from contentgen_contract.resources.namespaces import LabelSelector, Namespace
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.prices import Price
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.worker.orders import Limits
from contentgen_operator.kube.job_manifests import WorkerPod
from contentgen_operator.leader.election import Timing
from contentgen_operator.leader.endpoint import WorkerEndpoint
from contentgen_operator.providers.sending import POST_SECONDS

_DAY = 86400


class Settings(BaseSettings):
    """Each field is documented in the chart's values."""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", env_ignore_empty=True, frozen=True)

    namespace: str = "contentgen"
    watch_namespaces: tuple[Namespace, ...] = Field(
        (), description="Resources of these namespaces alone are worked on; none: of all, or of those with the labels."
    )
    watch_namespace_selector: LabelSelector | None = Field(
        None, description="Resources of namespaces with these labels alone are worked on."
    )
    operator_class: str = Field(
        DEFAULT_CLASS, pattern=OPERATOR_CLASS, description="Resources of this class alone are worked on."
    )
    service_account: str = Field(
        "", description="The operator's own, which owns the class. Empty: a process started by hand claims no class."
    )
    release: str = "contentgen"
    pod_name: str = Field("", description="Of this process, as the next two.")
    pod_uid: str = Field("", description="For events about the operator itself; none are posted where it is empty.")
    pod_ip: str = ""
    leader_election: bool = Field(
        False, description="Work only while the Lease is held. The chart sets it; without it there is one process."
    )
    lease_name: str = "contentgen"
    lease_seconds: float = Field(15, le=300, description="A Lease that is not renewed for so long is taken over.")
    lease_renew_seconds: float = Field(10, ge=5, description="The leader stops where it could not renew for so long.")
    lease_retry_seconds: float = Field(2, gt=0, description="Longest time between two tries.")
    log_format: Literal["json", "plain"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    health_port: int = 8080

    sentry_dsn: str = Field("", validation_alias="SENTRY_DSN", description="Where errors are told; empty for nowhere.")
    sentry_environment: str = Field("production", validation_alias="SENTRY_ENVIRONMENT")

    drain_seconds: float = Field(
        90, ge=POST_SECONDS, description="At the end: for a paid request that is under way, and its note in the ledger."
    )
    watch_dead_seconds: float = Field(150, gt=0, description="A watch not opened anew for so long is dead.")
    queue_stuck_seconds: float = Field(180, gt=0, description="Work due, and none finished, for so long is stuck.")

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

    fal_key_file: str = "/etc/contentgen/providers/fal-key"
    fal_billing_key_file: str = Field(
        "/etc/contentgen/providers/fal-billing-key", description="Reads billing events in place of the fal key."
    )
    fal_queue_url: str = "https://queue.fal.run"
    fal_api_url: str = "https://api.fal.ai"
    assemblyai_key_file: str = "/etc/contentgen/providers/assemblyai-key"
    assemblyai_url: str = "https://api.assemblyai.com"
    ca_file: Path | None = Field(None, description="PEM: CAs that the providers' certificates may be of, too.")
    poll_seconds: float = Field(5, gt=0)
    adoption_seconds: int = Field(7200, gt=0, description="How long a request whose reply was lost is looked for.")
    provider_deadline_seconds: int = Field(
        86400, gt=0, description="A request that the provider has not finished after this long is cancelled."
    )
    orphan_retention_days: int = Field(
        30, ge=1, le=3650, description="How long the result of a purchase is kept whose resource is gone."
    )
    prices: dict[str, Price] = Field(default_factory=dict)
    models_allowed: tuple[str, ...] = Field((), description="fal models that may be bought; empty: those with a price.")

    allowed_hosts: tuple[str, ...] = ()
    sources: tuple[SourceGrant, ...] = ()
    limits: Limits = Limits()

    worker_image: str = "contentgen-worker"
    worker_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    worker_resources: dict[str, Any] = Field(default_factory=dict)
    worker_service_account: str = "default"
    worker_pod: WorkerPod = WorkerPod()
    stage_deadline_seconds: int = Field(4 * 3600, gt=0)
    stage_attempts: int = Field(3, ge=1)

    desk_url: str = "https://contentgen-desk.contentgen.svc:8443"
    desk_port: int = 8443
    desk_service: str = Field("", description="The leader writes this Service's endpoint; empty: its selector does.")
    desk_secret: str = "contentgen-desk-tls"  # noqa: S105 - a Secret's name
    desk_tls_folder: Path | None = Field(None, description="Where somebody else's certificate is mounted.")
    desk_certificate_seconds: int = Field(90 * _DAY, gt=0, le=825 * _DAY)
    desk_renew_before_seconds: int = Field(30 * _DAY, ge=0)

    @property
    def lease_timing(self) -> Timing:
        """Raises ValueError where the times are not safe."""
        return Timing(self.lease_seconds, self.lease_renew_seconds, self.lease_retry_seconds)

    @model_validator(mode="after")
    def _has_a_safe_lease(self) -> "Settings":
        assert self.lease_timing  # noqa: S101 - raises ValueError
        return self

    @property
    def endpoint(self) -> WorkerEndpoint | None:
        """The worker API's own address; None where the Service's selector finds it."""
        if not self.desk_service:
            return None
        return WorkerEndpoint(
            service=self.desk_service,
            port=self.desk_port,
            namespace=self.namespace,
            pod=self.pod_name,
            pod_uid=self.pod_uid,
            address=self.pod_ip,
        )

    @model_validator(mode="after")
    def _renews_in_time(self) -> "Settings":
        if self.desk_renew_before_seconds >= self.desk_certificate_seconds:
            raise ValueError("desk_renew_before_seconds must be less than desk_certificate_seconds")
        return self
