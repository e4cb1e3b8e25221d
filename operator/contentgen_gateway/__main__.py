"""The gateway's process: settings, assembly, servers and background tasks."""

import asyncio
import signal
import sys
from functools import partial

from contentgen_gateway.app import create_app
from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.auth.sign_outs import SignOuts
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.dependencies import Dependencies
from contentgen_gateway.health import probes_app
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.namespaces import follow_namespaces
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores import preparation
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.notifications import Notifications
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime import logs
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.http_server.servers import gateway_server, plain_server
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.rotation import keep_fresh
from contentgen_runtime.stores import Stores
from contentgen_runtime.tenancy import Tenancy


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    share_the_interpreter()
    asyncio.run(_run(settings))


def share_the_interpreter() -> None:
    """Switch threads every 0.5 ms, not 5 ms, so that the event loop waits less for threads that decode or sign."""
    sys.setswitchinterval(0.0005)


async def _run(settings: Settings) -> None:
    async with KubeApi() as kube:
        connected = Stores.of(settings)
        dependencies = assemble(settings, kube, connected)
        server = gateway_server(
            create_app(dependencies),
            settings.gateway_port,
            trusted=settings.gateway_trusted_proxies,
            request_seconds=settings.gateway_request_seconds,
            host=settings.listen_address,
        )
        scraped = plain_server(probes_app(dependencies), settings.gateway_metrics_port, settings.listen_address)
        stop = partial(setattr, server, "should_exit", True)
        # A background task that fails ends the process, and Kubernetes restarts it.
        async with asyncio.TaskGroup() as tasks:
            for signal_number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(
                    signal_number,
                    lambda: tasks.create_task(dependencies.lifecycle.drain(settings.gateway_drain_seconds, stop)),
                )
            tasks.create_task(scraped.serve())
            beside = [
                tasks.create_task(dependencies.live.run(kube, dependencies.namespaces.scopes)),
                tasks.create_task(follow_namespaces(kube, dependencies.namespaces)),
                tasks.create_task(dependencies.indexer.run()),
                tasks.create_task(keep_fresh(connected.refreshed)),
                tasks.create_task(
                    preparation.prepare(
                        each.create_indexes
                        for each in (
                            dependencies.shares,
                            dependencies.collections,
                            dependencies.transcripts,
                            dependencies.creations,
                        )
                    )
                ),
            ]
            await server.serve()
            scraped.should_exit = True
            for task in beside:
                task.cancel()


def assemble(settings: Settings, kube: KubeApi, connected: Stores, clock: Clock = utc_now) -> Dependencies:
    """Stores and clients, each created once, with one clock."""
    database = connected.database
    authorizer = Authorizer(kube, open_to_all=settings.gateway_sign_in == "None")
    files = BucketFiles(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        people_endpoint=settings.gateway_files_endpoint,
        session=connected.session,
        clock=clock,
    )
    records, shares = Records(database["jobs"], files.key_of), Shares(database["shares"])
    transcripts = TranscriptIndex(database)
    indexer = Indexer(records, files, transcripts)
    resources = JobResources(kube, settings.operator_class)
    live = LiveJobs(on_end=indexer.schedule, serves=resources.serves)
    tenants = Tenants(Tenancy(kube, database, clock))
    creations = RecentCreations(database["recent-creations"], live, resources, clock)
    return Dependencies(
        settings=settings,
        authenticator=Authenticator(kube, SignOuts(database["signed-out"], clock), wall=clock),
        authorizer=authorizer,
        records=records,
        purchases=Purchases(database["ledger"]),
        live=live,
        creations=creations,
        shares=shares,
        notifications=Notifications(database["notifications"]),
        audit_reports=database["audits"],
        collections=Collections(database["collections"]),
        transcripts=transcripts,
        indexer=indexer,
        files=files,
        clock=clock,
        visibility=Visibility(records, authorizer, creations, shares, tenants),
        tenants=tenants,
        resources=resources,
        namespaces=Namespaces(settings.watch_namespaces, settings.watch_namespace_selector),
    )


if __name__ == "__main__":
    main()
