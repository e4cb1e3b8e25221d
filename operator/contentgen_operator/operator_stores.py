"""All stores of the operator, each with its collections."""

from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from contentgen_operator.leader.leadership import Check
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.stores.charges import Charges
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_runtime.tenancy import Tenancy


@dataclass(frozen=True)
class OperatorStores:
    """The bucket and the collections of MongoDB."""

    storage: Storage
    ledger: Ledger
    records: RecordStore
    jobs: WorkerJobs
    runs: RunDocuments
    notifications: NotificationOutbox
    charges: Charges
    tenancy: Tenancy
    verifier: StatusVerifier

    @classmethod
    def of(
        cls, database: Database[dict[str, Any]], storage: Storage, ledger: Ledger, tenancy: Tenancy, check: Check
    ) -> "OperatorStores":
        """Stores of the ledger's operator class. `check` raises Conflict if this process does not lead."""
        records, runs = RecordStore(database["jobs"], storage, check), RunDocuments(database["runs"], check)
        return cls(
            storage=storage,
            ledger=ledger,
            records=records,
            jobs=WorkerJobs(database["worker_jobs"], check),
            runs=runs,
            notifications=NotificationOutbox(database["notifications"], check, ledger.operator_class),
            charges=Charges(database["ledger"]),
            tenancy=tenancy,
            verifier=StatusVerifier(ledger=ledger, records=records, runs=runs, tenancy=tenancy),
        )
