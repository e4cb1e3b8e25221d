"""Clients of MongoDB and S3, with credentials from files or from the environment, and their blocking calls."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import boto3
from pymongo.database import Database

from contentgen_runtime import mongo, s3
from contentgen_runtime.ca_bundle import CombinedBundle
from contentgen_runtime.rotation import Refreshed

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Coroutine function that runs a blocking function in the event loop's thread pool, with the caller's context
    variables. A cancelled call still ends in its thread.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return asyncio.to_thread(function, *args, **kwargs)

    return call


class StoreSettings(Protocol):
    """Settings that the operator and the gateway share."""

    @property
    def mongodb_uri(self) -> str: ...
    @property
    def mongodb_uri_file(self) -> Path | None: ...
    @property
    def mongodb_database(self) -> str: ...
    @property
    def s3_endpoint(self) -> str | None: ...
    @property
    def s3_region(self) -> str: ...
    @property
    def s3_bucket(self) -> str: ...
    @property
    def s3_key_folder(self) -> Path | None: ...
    @property
    def ca_file(self) -> Path | None: ...


@dataclass(frozen=True)
class Stores:
    """Database, boto3 session, and the clients whose Secrets are refreshed while the process runs."""

    database: Database[dict[str, Any]]
    session: boto3.session.Session
    refreshed: Sequence[Refreshed]

    @classmethod
    def of(cls, settings: StoreSettings, session_seconds: int | None = None) -> "Stores":
        """Connects lazily. Raises ValueError for a missing file, or pymongo's error for a malformed URI.

        `session_seconds`: wanted duration of the sessions of a workload identity; None: botocore's default.
        """
        database, of_mongo = _database(settings)
        session, of_s3 = s3_session(settings, session_seconds)
        return cls(database, session, [*of_mongo, *of_s3])


def _database(settings: StoreSettings) -> tuple[Database[dict[str, Any]], list[Refreshed]]:
    if settings.mongodb_uri_file is None:
        return mongo.connect(settings.mongodb_uri, settings.mongodb_database), []
    rotated = mongo.RotatedDatabase(settings.mongodb_uri_file, settings.mongodb_database)
    return rotated.database, [rotated]


def s3_session(
    settings: StoreSettings, session_seconds: int | None = None
) -> tuple[boto3.session.Session, list[Refreshed]]:
    """Session, and what it reads from files: private CAs and its key. Raises ValueError for an unusable CA file."""
    cas = CombinedBundle(settings.ca_file) if settings.ca_file is not None else None
    ca_file, refreshed = (cas.path, [cas]) if cas is not None else (None, [])
    if settings.s3_key_folder is None:
        duration = s3.SessionDuration(settings.s3_region, session_seconds) if session_seconds is not None else None
        return s3.session(None, ca_file, duration), [*refreshed]
    key = s3.MountedKey(
        settings.s3_key_folder,
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        ca_file=ca_file,
    )
    return s3.session(key, ca_file), [*refreshed, key]
