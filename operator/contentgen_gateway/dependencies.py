"""Stores and clients of the process, made once (`__main__`), and the services over them.

A service gets the stores and clients that it needs, and no other.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from pymongo.collection import Collection

from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.lifecycle import Lifecycle
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.open_streams import OpenStreams
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.services.assets import AssetReader
from contentgen_gateway.services.changes.actions import JobActions
from contentgen_gateway.services.changes.creation import JobCreation
from contentgen_gateway.services.changes.deletion import JobDeletion
from contentgen_gateway.services.changes.editable_job import EditableJobs
from contentgen_gateway.services.changes.editing import JobEditing
from contentgen_gateway.services.changes.lora_references import LoraReferences
from contentgen_gateway.services.changes.notifications import JobNotifications
from contentgen_gateway.services.changes.sharing import JobSharing
from contentgen_gateway.services.collections import CollectionEditor
from contentgen_gateway.services.datasets import DatasetReader
from contentgen_gateway.services.downloads import FileReader
from contentgen_gateway.services.job_details import ResourceReader
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.services.legacy_imports import LegacyImporter
from contentgen_gateway.services.orphans import OrphanReader
from contentgen_gateway.services.queue import QueueReader
from contentgen_gateway.services.reports.audits import AuditReader
from contentgen_gateway.services.reports.given_up import GivenUpReader
from contentgen_gateway.services.reports.usage import UsageReader
from contentgen_gateway.services.streams import JobStreams
from contentgen_gateway.services.transcript_search import TranscriptSearcher
from contentgen_gateway.services.uses import JobUses
from contentgen_gateway.services.viewed_states import ViewedStates
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.notifications import Notifications
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.mongo import Document
from contentgen_runtime.namespaces import Namespaces


@dataclass(frozen=True)
class Dependencies:
    """Stores, clients and settings."""

    settings: Settings
    authenticator: Authenticator
    authorizer: Authorizer
    records: Records
    purchases: Purchases
    live: LiveJobs
    creations: RecentCreations
    shares: Shares
    notifications: Notifications
    audit_reports: Collection[Document]
    collections: Collections
    visibility: Visibility
    tenants: Tenants
    transcripts: TranscriptIndex
    indexer: Indexer
    resources: JobResources
    files: BucketFiles
    clock: Clock = utc_now
    namespaces: Namespaces = field(default_factory=Namespaces)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    streams: OpenStreams = field(default_factory=OpenStreams)


class Services:
    """Services that routes and pages call."""

    def __init__(self, given: Dependencies) -> None:
        visibility, authorizer, resources = given.visibility, given.authorizer, given.resources
        records, files, settings = given.records, given.files, given.settings
        editable = EditableJobs(visibility, authorizer, resources)
        uses = JobUses(records, given.tenants, visibility, authorizer)
        loras = LoraReferences(visibility, resources, files)
        retention = timedelta(days=settings.orphan_retention_days)
        most_streams = settings.gateway_streams_per_caller
        dollars_per_gb = settings.gateway_storage_dollars_per_gb

        self.actions = JobActions(editable, authorizer, given.live, given.clock)
        self.audits = AuditReader(authorizer, given.audit_reports, settings.operator_class)
        self.collections = CollectionEditor(
            given.collections, visibility, authorizer, given.tenants, given.namespaces, given.clock
        )
        self.creation = JobCreation(authorizer, resources, given.creations, loras, given.namespaces)
        self.deletion = JobDeletion(editable, resources, records, given.shares, given.collections, given.tenants, uses)
        self.files = FileReader(visibility, records, files, given.clock)
        self.jobs = JobReader(visibility, authorizer, records, files, given.live)
        self.legacy_imports = LegacyImporter(authorizer, records, files, given.tenants)
        self.notifications = JobNotifications(
            editable, given.notifications, given.clock, settings.gateway_webhook_keys_file
        )
        self.orphans = OrphanReader(visibility, given.purchases, retention)
        self.queue = QueueReader(visibility, given.live)
        self.resources = ResourceReader(resources)
        self.sharing = JobSharing(editable, given.shares, given.clock)
        self.streams = JobStreams(visibility, given.live, resources, given.streams, most_streams)
        self.transcript_search = TranscriptSearcher(visibility, given.transcripts, records, files)
        self.usage = UsageReader(visibility, records, given.purchases, uses, dollars_per_gb)

        self.assets = AssetReader(self.jobs, visibility, records, files)
        self.datasets = DatasetReader(self.jobs, files)
        self.editing = JobEditing(editable, records, self.jobs)
        self.viewed_states = ViewedStates(self.jobs, visibility, authorizer, self.queue, self.resources)
        self.given_up = GivenUpReader(visibility, self.jobs, self.viewed_states)
