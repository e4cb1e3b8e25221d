"""Settings of the operator: environment variables with the prefix CONTENTGEN_, set by the chart.

The settings of a component are a model beside it, and a field here: CONTENTGEN_LEASE_RENEW_SECONDS is
`lease.renew_seconds`.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from contentgen_contract.patterns import ACCOUNT, OPERATOR_CLASS, SPEECH_MODEL
from contentgen_contract.resources.namespaces import LabelSelector, Namespace
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.prices import SPEECH_MODELS, Price, site_prices
from contentgen_contract.resources.providers import PROVIDERS, ProviderName, Providers
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.resources.spec import Approval
from contentgen_contract.worker.orders import Limits
from contentgen_operator.accounts.values import is_account_name
from contentgen_operator.audit.facts import AuditSettings
from contentgen_operator.background.usage import UsageSettings
from contentgen_operator.buying.values import BacklogLimit
from contentgen_operator.kube.job_manifests import WorkerSettings
from contentgen_operator.leader.endpoint import PodSettings, WorkerEndpoint
from contentgen_operator.leader.thread import LeaseSettings
from contentgen_operator.notifications.granted_headers import NotificationSettings
from contentgen_operator.orphans.effects import Retention
from contentgen_operator.providers.keyfile import ProviderSettings
from contentgen_operator.providers.sending import POST_SECONDS
from contentgen_operator.queue.fair_turns import ConcurrencyLimits
from contentgen_operator.queue.preparation_queue import PreparationLimits
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.worker_api.tls import WorkerApiSettings
from contentgen_runtime.http_server.servers import ANY_ADDRESS


def _no_default(name: str) -> str:
    if not is_account_name(name):
        raise ValueError(f"{name} is no name of a provider account besides the default one")
    return name


ProviderAccount = Annotated[str, StringConstraints(pattern=ACCOUNT), AfterValidator(_no_default)]


class Settings(BaseSettings):
    """Each field is documented in the chart's values."""

    model_config = SettingsConfigDict(
        env_prefix="CONTENTGEN_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        frozen=True,
    )

    audit: AuditSettings = AuditSettings()
    usage: UsageSettings = UsageSettings()
    worker: WorkerSettings = WorkerSettings()
    pod: PodSettings = PodSettings()
    lease: LeaseSettings = LeaseSettings()
    max_concurrent: ConcurrencyLimits = ConcurrencyLimits()
    max_prepare_jobs: PreparationLimits = PreparationLimits()
    collect_backlog: BacklogLimit = BacklogLimit()
    notify: NotificationSettings = NotificationSettings()
    worker_api: WorkerApiSettings = WorkerApiSettings()

    namespace: str = "contentgen"
    watch_namespaces: tuple[Namespace, ...] = Field(
        (), description="Namespaces to work in; empty: all, or those with the labels."
    )
    watch_namespace_selector: LabelSelector | None = Field(None, description="Labels of the namespaces to work in.")
    operator_class: str = Field(DEFAULT_CLASS, pattern=OPERATOR_CLASS, description="Class of the resources to work on.")
    service_account: str = Field(
        "",
        description="Owner of the class. Empty: no class is owned, for a process started by hand.",
    )
    release: str = "contentgen"
    leader_election: bool = Field(
        False,
        description="Work only while the Lease is held. Set by the chart; without it there must be one process only.",
    )
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
    s3_session_seconds: int = Field(
        43200,
        ge=900,
        le=43200,
        description="Session that is asked of STS for a workload identity; the role may allow less.",
    )
    s3_provider_url_seconds: int = Field(
        2700, ge=0, le=43200, description="Least lifetime of the URL of a paid request's input; no payment below."
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
    stage_deadline_seconds: int = Field(4 * 3600, gt=0)
    stage_attempts: int = Field(3, ge=1)
    buying_paused: bool = Field(False, description="Pause all buying; requests under way go on.")
    prices: dict[str, Price] = Field(default_factory=dict)
    speech_models: tuple[Annotated[str, Field(pattern=SPEECH_MODEL)], ...] = Field(
        SPEECH_MODELS, min_length=1, max_length=8, description="Models of AssemblyAI, the preferred one first."
    )
    models_allowed: tuple[str, ...] = Field((), description="fal models that may be bought; empty: the catalogue's.")
    approval: Approval = Field(
        Approval.AUTOMATIC, description="Minimum of spec.approval in all namespaces; a namespace may require more."
    )
    metrics_tenants: bool = Field(
        False, description="Whether metrics have money by namespace, user, budget and provider account."
    )
    allowed_hosts: tuple[str, ...] = ()
    sources: tuple[SourceGrant, ...] = ()
    limits: Limits = Limits()

    @property
    def endpoint(self) -> WorkerEndpoint | None:
        """Address of this process's worker API; None if the Service has a selector."""
        if not self.worker_api.service:
            return None
        return WorkerEndpoint(
            service=self.worker_api.service,
            port=self.worker_api.port,
            namespace=self.namespace,
            pod=self.pod.name,
            pod_uid=self.pod.uid,
            address=self.pod.ip,
        )

    @property
    def price_table(self) -> dict[str, Price]:
        """Prices by model: the built-in ones, and the administrator's instead of them."""
        return site_prices(self.prices, self.speech_models)

    @property
    def retention(self) -> Retention:
        """Settings of the orphans."""
        return Retention(
            kept=timedelta(days=self.orphan_retention_days),
            provider_seconds=self.provider_deadline_seconds,
            prices=self.price_table,
            own_prices=frozenset(self.prices),
        )

    def decision_settings(self, providers: Providers) -> DecisionSettings:
        """Settings that decisions depend on."""
        return DecisionSettings(
            providers=providers,
            poll_seconds=self.poll_seconds,
            adoption_seconds=self.adoption_seconds,
            stage_attempts=self.stage_attempts,
            provider_seconds=self.provider_deadline_seconds,
            bucket=self.s3_bucket,
            unreachable_for=frozenset(self.s3_unreachable_for),
            sources=self.sources,
            allowed_hosts=self.allowed_hosts,
            recording_seconds=self.limits.duration_seconds,
            prices=self.price_table,
            own_prices=frozenset(self.prices),
            models_allowed=self.models_allowed,
            buying_paused=self.buying_paused,
            speech_models=self.speech_models,
            approval_required=self.approval is Approval.MANUAL,
        )
