"""Stores and clients of the process, made once (`__main__`), and the services over them.

A service gets the stores and clients that it needs, and no other.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

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
from contentgen_gateway.services.changes.sharing import JobSharing
from contentgen_gateway.services.collections import CollectionEditor
from contentgen_gateway.services.datasets import DatasetReader
from contentgen_gateway.services.downloads import FileReader
from contentgen_gateway.services.job_details import ResourceReader
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.services.legacy_imports import LegacyImporter
from contentgen_gateway.services.orphans import OrphanReader
from contentgen_gateway.services.streams import JobStreams
from contentgen_gateway.services.transcript_search import TranscriptSearcher
from contentgen_gateway.services.usage import UsageReader
from contentgen_gateway.services.uses import JobUses
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.namespaces import Namespaces


@dataclass(frozen=True)
class Dependencies:
    """Stores, clients and settings."""

    settings: Settings
    callers: Authenticator
    access: Authorizer
    records: Records
    purchases: Purchases
    live: LiveJobs
    creations: RecentCreations
    shares: Shares
    collections: Collections
    sight: Visibility
    tenants: Tenants
    transcripts: TranscriptIndex
    indexer: Indexer
    resources: JobResources
    files: BucketFiles
    clock: Clock = utc_now
    namespaces: Namespaces = field(default_factory=Namespaces)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    streams: OpenStreams = field(default_factory=OpenStreams)


@dataclass(frozen=True)
class Services:
    """Services that routes and pages call."""

    actions: JobActions
    assets: AssetReader
    collections: CollectionEditor
    creation: JobCreation
    datasets: DatasetReader
    deletion: JobDeletion
    editing: JobEditing
    files: FileReader
    jobs: JobReader
    legacy_imports: LegacyImporter
    orphans: OrphanReader
    resources: ResourceReader
    sharing: JobSharing
    streams: JobStreams
    transcript_search: TranscriptSearcher
    usage: UsageReader

    @classmethod
    def of(cls, parts: Dependencies) -> Self:
        """Services over these stores and clients."""
        sight, access, records, files = parts.sight, parts.access, parts.records, parts.files
        jobs = JobReader(sight, records, files)
        editable = EditableJobs(sight, access, parts.resources)
        uses = JobUses(records, parts.tenants, sight, access)
        loras = LoraReferences(sight, parts.resources, files)
        settings = parts.settings
        return cls(
            actions=JobActions(editable, access, parts.clock),
            assets=AssetReader(jobs, sight, records, files),
            collections=CollectionEditor(
                parts.collections, sight, access, parts.tenants, parts.namespaces, parts.clock
            ),
            creation=JobCreation(access, parts.resources, parts.creations, loras, parts.namespaces),
            datasets=DatasetReader(jobs, files),
            deletion=JobDeletion(
                editable, parts.resources, records, parts.shares, parts.collections, parts.tenants, uses
            ),
            editing=JobEditing(editable, records, jobs),
            files=FileReader(sight, records, files, parts.clock),
            jobs=jobs,
            legacy_imports=LegacyImporter(access, records, files, parts.tenants),
            orphans=OrphanReader(sight, parts.purchases, timedelta(days=settings.orphan_retention_days)),
            resources=ResourceReader(parts.resources),
            sharing=JobSharing(editable, parts.shares, parts.clock),
            streams=JobStreams(sight, parts.live, parts.resources, parts.streams, settings.gateway_streams_per_caller),
            transcript_search=TranscriptSearcher(sight, parts.transcripts, records, files),
            usage=UsageReader(sight, records, parts.purchases, uses, settings.gateway_storage_dollars_per_gb),
        )
