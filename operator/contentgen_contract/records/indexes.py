"""Indexes of the MongoDB collections. The operator creates them; each query of the gateway uses one.

Only plain indexes (no text, partial or TTL index), which every MongoDB-compatible server supports. Equality fields come
first, the sort fields last; `jobId` makes the order total, so that a cursor can continue after any record.
"""

Keys = tuple[tuple[str, int], ...]
NEWEST_FIRST: Keys = (("createdAt", -1), ("jobId", -1))

JOBS: dict[str, Keys] = {
    "job_id": (("jobId", 1),),
    "created": NEWEST_FIRST,
    "user_created": (("userId", 1), *NEWEST_FIRST),
    "namespace_created": (("namespace", 1), *NEWEST_FIRST),
    "namespace_user_created": (("namespace", 1), ("userId", 1), *NEWEST_FIRST),
    "namespace_type_created": (("namespace", 1), ("type", 1), *NEWEST_FIRST),
    "namespace_status_created": (("namespace", 1), ("status", 1), *NEWEST_FIRST),
    "status_created": (("status", 1), *NEWEST_FIRST),
    "terms_created": (("terms", 1), *NEWEST_FIRST),
    "tags_created": (("metadata.tags", 1), *NEWEST_FIRST),
    "uses": (("uses", 1),),
    "public_created": (("metadata.isPublic", 1), *NEWEST_FIRST),
    "discarded": (("discard.uid", 1),),
    "completed": (("completedAt", -1),),
} | {
    f"namespace_by_{field}": (("namespace", 1), (field, -1), ("jobId", -1))
    for field in (
        "startedAt", "completedAt", "updatedAt", "progress", "status", "type", "name", "userId", "costMicros",
    )
}  # fmt: skip
"""Names and keys; those of the second group are for the other orders of lists. `job_id` is unique. `terms`, `tags` and
`uses` are arrays. The operator uses `discarded` and `completed`.
"""

WORKER_JOBS: dict[str, Keys] = {"uid": (("uid", 1),)}

LEDGER: dict[str, Keys] = {
    "model_finished": (("model", 1), ("finishedAt", -1)),
    "correlation_key": (("correlationKey", 1),),
    "request_id": (("requestId", 1),),
    "purchase_id": (("purchaseId", 1),),
    "job_id": (("jobId", 1),),
    "former_owners": (("formerOwners", 1),),
    "state": (("state", 1), ("_id", 1)),
    "awaited": (("awaitedSince", 1),),
    "orphaned": (("orphanedAt", -1), ("_id", 1)),
    "namespace_orphaned": (("namespace", 1), ("orphanedAt", -1), ("_id", 1)),
    "created": (("createdAt", -1),),
    "user_created": (("userId", 1), ("createdAt", -1)),
    "namespace_created": (("namespace", 1), ("createdAt", -1)),
    "namespace_user_created": (("namespace", 1), ("userId", 1), ("createdAt", -1)),
    "budgets": (("budgets", 1), ("state", 1)),
    "content": (("content", 1),),
    "also_under": (("alsoUnder", 1),),
}
"""The operator uses the first nine (durations of a model, lost requests, audited requests, purchases that a status
names, owners, results whose collection is tried, orphans) and the last three (the charges of a budget, purchases of the
same request). `formerOwners`, `budgets`, `content` and `alsoUnder` are arrays.
"""

BUDGETS: dict[str, Keys] = {"keys": (("keys", 1),), "resets": (("resetsAt", 1),)}
"""`keys` is an array: the claims that are open."""

REQUEST_BINDINGS: dict[str, Keys] = {"correlation_key": (("correlationKey", 1),)}

AUDITS: dict[str, Keys] = {"finished": (("finishedAt", -1),)}
"""Reports, newest first. The document of a requested audit has no `finishedAt`."""

NOTIFICATIONS: dict[str, Keys] = {
    "state_next": (("state", 1), ("nextAt", 1)),
    "state_namespace_next": (("state", 1), ("namespace", 1), ("nextAt", 1)),
    "namespace_class_created": (("namespace", 1), ("operatorClass", 1), ("createdAt", 1)),
    "job_id_created": (("jobId", 1), ("createdAt", -1)),
    "expires": (("expiresAt", 1),),
}
