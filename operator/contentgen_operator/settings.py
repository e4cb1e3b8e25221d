"""Settings of the operator: environment variables with the prefix CONTENTGEN_, set by the chart."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.base import Value
from contentgen_contract.patterns import ACCOUNT, OPERATOR_CLASS, SPEECH_MODEL
from contentgen_contract.records.purchase_costs import UsageLabel
from contentgen_contract.resources.namespaces import LabelSelector, Namespace
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.prices import SPEECH_MODELS, Price
from contentgen_contract.resources.providers import PROVIDERS, ProviderName
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.resources.spec import Approval
from contentgen_contract.worker.orders import EgressProxy, Limits
from contentgen_operator.kube.job_manifests import FINISHED_JOB_SECONDS, WorkerPod, WorkerSizes
from contentgen_operator.leader.election import Timing
from contentgen_operator.leader.endpoint import WorkerEndpoint
from contentgen_operator.notifications.header_grants import HeaderGrant
from contentgen_operator.providers.sending import POST_SECONDS
from contentgen_operator.state.policies.provider_accounts import is_account_name
from contentgen_runtime.http_server.servers import ANY_ADDRESS


def _no_default(name: str) -> str:
    if not is_account_name(name):
        raise ValueError(f"{name} is no name of a provider account besides the default one")
    return name


_DAY = 86400
_KEYS, _KEY_NAMES = "/etc/contentgen/providers", ("key", "billing_key", "audit_key")
ProviderAccount = Annotated[str, StringConstraints(pattern=ACCOUNT), AfterValidator(_no_default)]


class ProviderSettings(Value):
    """Settings of one provider, from environment variables with its name."""

    key_file: str = Field(description="CONTENTGEN_{NAME}_KEY_FILE: key for paid requests.")
    billing_key_file: str = Field(description="CONTENTGEN_{NAME}_BILLING_KEY_FILE: for billing events, used instead.")
    audit_key_file: str = Field(description="CONTENTGEN_{NAME}_AUDIT_KEY_FILE: for the audit, used instead of both.")
    urls: dict[str, str] = Field(
        default_factory=dict, description="CONTENTGEN_{NAME}_URL, …_QUEUE_URL, …_API_URL: base URLs by `url` and so on."
    )
    max_concurrent: int = Field(
        0, ge=0, description="CONTENTGEN_MAX_CONCURRENT_{NAME}: requests under way of each account; 0: no limit."
    )

    @classmethod
    def of(cls, name: str, environment: Mapping[str, str]) -> "ProviderSettings":
        """Settings of a provider; an empty variable is ignored. Raises pydantic.ValidationError."""
        prefix = f"CONTENTGEN_{name.upper()}_"
        own = {each.removeprefix(prefix): value for each, value in environment.items() if each.startswith(prefix)}
        files = {f"{key}_file": f"{_KEYS}/{name}-{key.replace('_', '-')}" for key in _KEY_NAMES}
        given: dict[str, Any] = {file: own.get(file.upper()) or default for file, default in files.items()}
        given["urls"] = {each.lower(): value for each, value in own.items() if each.endswith("URL") and value}
        given["max_concurrent"] = environment.get(f"CONTENTGEN_MAX_CONCURRENT_{name.upper()}") or 0
        return cls.model_validate(given)


class Settings(BaseSettings):
    """Each field is documented in the chart's values."""

    model_config = SettingsConfigDict(env_prefix="CONTENTGEN_", env_ignore_empty=True, frozen=True)

    namespace: str = "contentgen"
    watch_namespaces: tuple[Namespace, ...] = Field(
        (), description="Namespaces to work in; empty: all, or those with the labels."
    )
    watch_namespace_selector: LabelSelector | None = Field(None, description="Labels of the namespaces to work in.")
    operator_class: str = Field(DEFAULT_CLASS, pattern=OPERATOR_CLASS, description="Class of the resources to work on.")
    service_account: str = Field(
        "",
        description="Owner of the class. Empty: no class is claimed, for a process started by hand.",
    )
    release: str = "contentgen"
    pod_name: str = Field("", description="Pod of this process, as the next two fields.")
    pod_uid: str = Field("", description="For events about the operator itself; empty: none are created.")
    pod_ip: str = ""
    leader_election: bool = Field(
        False,
        description="Work only while the Lease is held. Set by the chart; without it there must be one process only.",
    )
    lease_name: str = "contentgen"
    lease_seconds: float = Field(
        15, le=300, description="Lease duration: another process takes over a Lease that was not renewed for this long."
    )
    lease_renew_seconds: float = Field(
        10, ge=5, description="Renew deadline: the leader stops after failing to renew for this long."
    )
    lease_retry_seconds: float = Field(2, gt=0, description="Longest pause between two attempts.")
    log_format: Literal["json", "plain"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    listen_address: str = Field(ANY_ADDRESS, description="Address of the servers; not set in a pod.")
    health_port: int = 8080

    sentry_dsn: str = Field(
        "", validation_alias="SENTRY_DSN", description="Sentry project for error reports; empty: none."
    )
    sentry_environment: str = Field("production", validation_alias="SENTRY_ENVIRONMENT")

    drain_seconds: float = Field(
        90, ge=POST_SECONDS, description="Time at shutdown for a paid request in progress and its entry in the ledger."
    )
    watch_dead_seconds: float = Field(
        150, gt=0, description="Age after which a watch is dead, since it was last reopened."
    )
    queue_stuck_seconds: float = Field(
        180, gt=0, description="Time with due and no finished work after which the queue is stuck."
    )

    mongodb_uri: str = "mongodb://localhost:27017/"
    mongodb_uri_file: Path | None = Field(
        None, description="File with the URI, which replaces `mongodb_uri`; read again when it changes."
    )
    mongodb_database: str = "content-generation"

    s3_endpoint: str | None = None
    s3_public_endpoint: str | None = None
    s3_unreachable_for: tuple[ProviderName, ...] = Field(
        (), description="Providers that cannot fetch files from the bucket; set by `contentgen try`, not by the chart."
    )
    s3_region: str = "us-east-1"
    s3_bucket: str = "content-generation-assets"
    s3_key_folder: Path | None = Field(
        None,
        description="Folder with the files access-key-id and secret-access-key, used instead of the environment.",
    )

    providers: dict[str, ProviderSettings] = Field(
        default_factory=lambda: {name: ProviderSettings.of(name, os.environ) for name in PROVIDERS.names},
        description="Settings by provider, each from variables of its own.",
    )
    provider_accounts: tuple[ProviderAccount, ...] = Field(
        (), description="Names of provider accounts besides the default one, which the labels of namespaces grant."
    )
    provider_accounts_folder: Path = Field(
        Path("/etc/contentgen/accounts"),
        description="Folder with one folder for each of these accounts, with files like those of the default one.",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file with CAs that are accepted besides the public ones, by workers too; read again.",
    )
    poll_seconds: float = Field(5, gt=0)
    adoption_seconds: int = Field(7200, gt=0, description="Time for which a request with a lost reply is searched.")
    provider_deadline_seconds: int = Field(
        86400, gt=0, description="Time after which an unfinished request is cancelled."
    )
    orphan_retention_days: int = Field(
        30, ge=1, le=3650, description="Retention of results of purchases whose resource is gone."
    )
    temporary_files: Literal["lifecycle", "collector", "none"] = Field(
        "lifecycle", description="What deletes temporary files after 24 hours."
    )
    max_concurrent_overall: int = Field(
        0, ge=0, description="Paid requests under way at a time; 0: no limit, as for the next one."
    )
    max_concurrent_per_namespace: int = Field(0, ge=0)
    max_prepare_jobs_overall: int = Field(
        0, ge=0, description="Prepare Jobs that exist at a time; 0: no limit, as for the next one."
    )
    max_prepare_jobs_per_namespace: int = Field(0, ge=0)
    buying_paused: bool = Field(False, description="Pause all buying; requests under way go on.")
    collect_backlog_results: int = Field(
        20, ge=0, description="Paid results of a namespace that may be late before nothing more is bought in it."
    )
    collect_backlog_minutes: int = Field(
        15, ge=1, le=1440, description="Time after the provider's end after which a result that is not stored is late."
    )
    prices: dict[str, Price] = Field(default_factory=dict)
    speech_models: tuple[Annotated[str, Field(pattern=SPEECH_MODEL)], ...] = Field(
        SPEECH_MODELS, min_length=1, max_length=8, description="Models of AssemblyAI, the preferred one first."
    )
    models_allowed: tuple[str, ...] = Field((), description="fal models that may be bought; empty: the built-in ones.")

    approval: Approval = Field(
        Approval.AUTOMATIC, description="Minimum of spec.approval in all namespaces; a namespace may require more."
    )
    audit_daily: bool = Field(True, description="Audit every day; without it, only when a person requests it.")
    audit_window_days: int = Field(14, ge=1, le=60, description="Age of the requests and bills that are audited.")
    audit_unbilled_days: int = Field(3, ge=1, le=30, description="Time after which a request must be billed.")
    audit_shared_account: bool = Field(
        False, description="Whether others use the providers' accounts: their requests are no alert."
    )
    usage_labels: tuple[UsageLabel, ...] = Field(
        (UsageLabel.NAMESPACE, UsageLabel.KIND, UsageLabel.PROVIDER, UsageLabel.MODEL),
        description="Labels of the usage metrics.",
    )
    metrics_tenants: bool = Field(
        False, description="Whether metrics have money by namespace, user, budget and provider account."
    )
    usage_max_series: int = Field(2000, ge=0, le=100_000, description="Number of their series; 0: no usage metrics.")

    allowed_hosts: tuple[str, ...] = ()
    sources: tuple[SourceGrant, ...] = ()
    limits: Limits = Limits()

    notify_headers: tuple[HeaderGrant, ...] = ()
    notify_headers_folder: Path = Field(
        Path("/etc/contentgen/notify-headers"), description="Folder with the mounted Secrets of headers, by name."
    )
    notify_keys_secret: str = "contentgen-webhook-keys"  # noqa: S105 - a Secret's name

    worker_image: str = "contentgen-worker"
    worker_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    worker_resources: dict[str, Any] = Field(default_factory=dict)
    worker_service_account: str = "default"
    worker_proxy: EgressProxy | None = Field(None, description="HTTP proxy of workers; None: they connect directly.")
    worker_pod: WorkerPod = WorkerPod()
    worker_sizes: WorkerSizes = WorkerSizes()
    worker_finished_seconds: int = Field(
        FINISHED_JOB_SECONDS, ge=60, description="Time after which finished worker Jobs are deleted."
    )
    stage_deadline_seconds: int = Field(4 * 3600, gt=0)
    stage_attempts: int = Field(3, ge=1)

    desk_url: str = "https://contentgen-desk.contentgen.svc:8443"
    desk_port: int = 8443
    desk_service: str = Field(
        "", description="Service whose endpoint the leader writes; empty: the Service has a selector."
    )
    desk_secret: str = "contentgen-desk-tls"  # noqa: S105 - a Secret's name
    desk_tls_folder: Path | None = Field(None, description="Folder with a certificate that is issued by others.")
    desk_certificate_seconds: int = Field(90 * _DAY, gt=0, le=825 * _DAY)
    desk_renew_before_seconds: int = Field(30 * _DAY, ge=0)

    @property
    def lease_timing(self) -> Timing:
        """Times of the leader election. Raises ValueError if they are unsafe."""
        return Timing(self.lease_seconds, self.lease_renew_seconds, self.lease_retry_seconds)

    @model_validator(mode="after")
    def _has_a_safe_lease(self) -> "Settings":
        assert self.lease_timing  # noqa: S101 - raises ValueError
        return self

    @model_validator(mode="after")
    def _audits_long_enough(self) -> "Settings":
        if self.audit_unbilled_days >= self.audit_window_days:
            raise ValueError("audit_unbilled_days must be less than audit_window_days")
        return self

    @property
    def endpoint(self) -> WorkerEndpoint | None:
        """Address of this process's worker API; None if the Service has a selector."""
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
