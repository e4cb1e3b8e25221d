"""Mutants of the defences around a purchase: `make mutants` shows that the named test fails for each.

A mutant changes one line in a temporary copy of the tree. `--only TEXT` takes those whose name contains it. Four
defences are not listed, because no test fails without one of them alone: the marker's purchase id in `act._reserved`,
the claim in `act._note`, the other purchase id in `buying.was_rewound`, and the claim in `observe.find_lost`.
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = "operator/contentgen_operator"
_COPIED = ("operator", "tests/unit", "tests/simulation", "pyproject.toml")
_ON_PATH = ("operator", "tests/simulation", "tools", "worker-image", "sandbox", "cli")
# Imported once and inherited by fork: most of a test's time is their import.
_PRELOADED = (
    "pytest", "_pytest.assertion.rewrite", "pydantic", "pymongo", "mongomock", "boto3", "botocore.session",
    "kubernetes.aio", "httpx", "fal_client", "assemblyai", "stamina", "kopf", "fastapi", "uvicorn", "cryptography.x509",
    "prometheus_client",
)  # fmt: skip
_SECONDS = 600.0
_NO_VERDICT = 70  # an exit status that pytest has not
KILLED, SURVIVED, ENDLESS = "killed", "SURVIVED", "killed (endless)"


@dataclass(frozen=True)
class Mutant:
    """`old` occurs once in `file`, and is replaced by `new`; `test`, an id of pytest, fails then."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def mutated(self, text: str) -> str:
        """The file's text with the change. Raises ValueError where the code is not there any more."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


def _of(file: str, *mutants: tuple[str, str, str, str]) -> tuple[Mutant, ...]:
    path = f"{OPERATOR}/{file}.py"
    return tuple(Mutant(name, path, old, new, f"tests/unit/test_{test}") for name, old, new, test in mutants)


_LEDGER = "operator_ledger.py::test"
_PURCHASES = "operator_purchases.py::test"
_DECIDE = "operator_decide.py::test"
_PROVIDERS = "operator_providers.py::test"
_DEFENCES = "purchase_defences.py::test"

MUTANTS: tuple[Mutant, ...] = (
    *_of(
        "ledger",
        (
            "send: the step is not compared",
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": _INTENT, "jobId": purchase.job_id}',
            f"{_LEDGER}_one_of_many_pays",
        ),
        (
            "send: the owner is not compared",
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED}',
            f"{_LEDGER}_what_is_planned_for_another_resource_is_sent_by_nobody_else",
        ),
        (
            "intend: what may have been sent is planned again",
            'planned = {"state": _INTENT, "step": _PLANNED, "jobId": {"$ne": job_id}}',
            'planned = {"state": _INTENT, "jobId": {"$ne": job_id}}',
            f"{_LEDGER}_only_what_is_planned_is_sent",
        ),
        (
            "intend: a refusal for good is forgotten",
            '"$or": [{"permanent": False}, {"jobId": {"$ne": job_id}}]}',
            '"$or": [{"permanent": {"$ne": None}}, {"jobId": {"$ne": job_id}}]}',
            f"{_LEDGER}_refused_for_good_is_said_to_that_resource",
        ),
        (
            "intend: a purchase that is planned anew gets another id",
            '_KEPT = {"tries", "purchaseId", "formerOwners"}',
            '_KEPT = {"tries", "formerOwners"}',
            f"{_LEDGER}_what_is_planned_for_another_resource_is_sent_by_nobody_else",
        ),
        (
            "send: an unacknowledged compare-and-set is not remembered",
            "            self._unsent.add(sent_by)\n",
            "",
            f"{_LEDGER}_a_compare_and_set_whose_reply_was_lost_is_nobodys_payment",
        ),
        (
            "move: the state is not compared",
            'where = {"_id": str(move.key), "state": move.source.value} |',
            'where = {"_id": str(move.key)} |',
            f"{_LEDGER}_a_change_names_where_it_comes_from",
        ),
        (
            "move: the owner is not compared",
            '({"jobId": move.owner} if move.owner else {})',
            "{}",
            f"{_DEFENCES}_a_move_names_the_owner_and_the_step",
        ),
        (
            "move: the step is not compared",
            "        where |= {_camel(name): value for name, value in move.expected.items()}\n",
            "",
            f"{_DEFENCES}_a_move_names_the_owner_and_the_step",
        ),
        (
            "drop_planned: a sent purchase is dropped",
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "purchaseId": purchase_id}',
            'where = {"_id": str(key), "state": _INTENT, "purchaseId": purchase_id}',
            f"{_DEFENCES}_only_this_planned_purchase_is_dropped",
        ),
        (
            "drop_planned: the id is not compared",
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "purchaseId": purchase_id}',
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED}',
            f"{_DEFENCES}_only_this_planned_purchase_is_dropped",
        ),
        (
            "adopt: the owner is not compared",
            'where = {"_id": str(key), "state": purchase.state.value, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": purchase.state.value}',
            f"{_LEDGER}_a_purchase_has_one_owner",
        ),
        (
            "adopt: the state is not compared",
            'where = {"_id": str(key), "state": purchase.state.value, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "jobId": purchase.job_id}',
            f"{_LEDGER}_a_purchase_has_one_owner",
        ),
        (
            "job_ids: former owners are left out",
            'for job in (each["jobId"], *(each.get("formerOwners") or ())))',
            'for job in (each["jobId"],))',
            f"{_DEFENCES}_the_jobs_of_a_name_are_its_owners_and_former_owners",
        ),
        (
            "a range of ids has no end",
            'return {"_id": {"$gte": prefix, "$lt": f"{prefix[:-1]}0"}}',
            'return {"_id": {"$gte": prefix}}',
            f"{_DEFENCES}_the_jobs_of_a_name_are_its_owners_and_former_owners",
        ),
        (
            "a range of ids has no beginning",
            'return {"_id": {"$gte": prefix, "$lt": f"{prefix[:-1]}0"}}',
            'return {"_id": {"$lt": f"{prefix[:-1]}0"}}',
            f"{_DEFENCES}_the_jobs_of_a_name_are_its_owners_and_former_owners",
        ),
        (
            "claim: the second one has the request too",
            'return kept is not None and kept.get("purchaseId") == purchase.purchase_id\n        return True',
            "return kept is not None\n        return True",
            f"{_LEDGER}_a_request_id_is_claimed_once",
        ),
        (
            "discard: what others own is discarded",
            '{"jobId": job_id, "state": {"$in": finished}}, {"$set": gone}',
            '{"state": {"$in": finished}}, {"$set": gone}',
            f"{_LEDGER}_a_purchase_has_one_owner",
        ),
        (
            "kept_files: nothing is kept",
            "return frozenset(key for each in others for key in _listed(each))",
            "return frozenset()",
            f"{_PURCHASES}_the_deletion_of_a_former_owner_leaves_the_files_of_the_purchase",
        ),
    ),
    *_of(
        "storage",
        (
            "markers and responses are overwritten",
            'Body=body, ContentType="application/json", IfNoneMatch="*"',
            'Body=body, ContentType="application/json"',
            "operator_storage.py::test_a_marker_and_a_response_are_written_once",
        ),
        (
            "an unreadable marker is a name",
            "return named if isinstance(named, str) and re.fullmatch(patterns.UID, named) else _UNREADABLE",
            "return str(named)",
            "operator_storage.py::test_a_marker_that_cannot_be_read_is_that_of_another_purchase",
        ),
        (
            "files to keep are deleted",
            'for each in listed if each["Key"] not in keep]',
            "for each in listed]",
            "operator_storage.py::test_files_to_keep_stay_where_a_prefix_is_deleted",
        ),
    ),
    *_of(
        "act",
        (
            "sent without the compare-and-set",
            '        if self._sent_by is None:\n            raise Conflict(f"purchase {key} is sent by',
            '        if False:\n            raise Conflict(f"purchase {key} is sent by',
            f"{_PURCHASES}_a_frozen_process_sends_nothing_after_a_resubmission",
        ),
        (
            "an adoption that failed is gone on with",
            "if not await self._ledger.adopt(adoption.key, seen, adoption.job_id):",
            "if await self._ledger.adopt(adoption.key, seen, adoption.job_id) is None:",
            f"{_DEFENCES}_what_comes_too_late_changes_nothing",
        ),
        (
            "a move that failed is gone on with",
            "if await self._ledger.move(move) is None:",
            "if await self._ledger.move(move) is False:",
            f"{_DEFENCES}_what_comes_too_late_changes_nothing",
        ),
        (
            "a status without the purchase's name is paid",
            "        _check_crd(status, written)\n",
            "",
            f"{_PURCHASES}_a_crd_of_an_older_release_stops_the_payment",
        ),
        (
            "a failed compare-and-set is not told",
            "        _log_failed(move, kept)\n\n",
            "        pass\n\n",
            f"{_PURCHASES}_a_compare_and_set_that_fails_is_an_error_that_shows_both_states",
        ),
        (
            "an unrecorded Job is taken for ours",
            "if recorded is not None and recorded.uid == uid:",
            "if True:",
            "operator_worker_jobs.py::test_a_job_that_a_tenant_prepared_is_replaced",
        ),
    ),
    *_of(
        "reconcile",
        (
            "paid without a look at the newest resource",
            "if plan.payment is not None and resource.finalized:",
            "if False:",
            f"{_DEFENCES}_a_suspension_that_the_watch_has_not_told_stops_the_payment",
        ),
    ),
    *_of(
        "buying",
        (
            "was_rewound: a request id in the status is no evidence",
            "if run.request_id is not None or (told and last.reason in _SEARCHED):",
            "if told and last.reason in _SEARCHED:",
            f"{_DECIDE}_what_was_submitted_is_not_paid_again_where_the_ledger_has_lost_it",
        ),
        (
            "was_rewound: a search in the status is no evidence",
            "if run.request_id is not None or (told and last.reason in _SEARCHED):",
            "if run.request_id is not None:",
            f"{_DEFENCES}_a_status_that_was_searching_is_evidence_of_a_purchase",
        ),
        (
            "was_rewound: a purchase that only the status names is no evidence",
            "return run.purchase_id is not None\n",
            "return False\n",
            f"{_PURCHASES}_stores_rewound_to_before_the_purchase_pay_nothing_again",
        ),
        (
            "was_rewound: the time of sending is no evidence",
            "return run.sent_at is not None and (purchase.sent_at is None or purchase.sent_at < run.sent_at)",
            "return False",
            f"{_DEFENCES}_a_status_that_knows_when_it_was_sent_is_evidence_of_a_purchase",
        ),
        (
            "paid before the status names the purchase",
            "return mine and case.run.purchase_id == purchase.purchase_id and case.resource.purchase_is_named",
            "return mine",
            f"{_DEFENCES}_what_the_status_does_not_name_is_reserved_again_and_not_paid",
        ),
        (
            "any resubmission allows this payment",
            "if case.resource.resubmit == case.key.token:\n        moves = ",
            "if case.resource.resubmit:\n        moves = ",
            f"{_DECIDE}_a_person_may_ask_for_that_very_purchase_again",
        ),
        (
            "a found request is not claimed",
            'moves = (move.model_copy(update={"claimed_for": purchase}),)',
            "moves = (move,)",
            f"{_PURCHASES}_a_request_belongs_to_one_purchase",
        ),
        (
            "one paid attempt too many",
            "if case.run.paid_attempt < case.spec.paid_attempts:",
            "if case.run.paid_attempt <= case.spec.paid_attempts:",
            f"{_DECIDE}_paid_attempts",
        ),
        (
            "the next attempt has the name of the last",
            '            "purchase_id": None,\n            "sent_at": None,',
            '            "sent_at": None,',
            f"{_PURCHASES}_applied_again_after_a_resubmission_it_goes_on_with_the_second_attempt",
        ),
    ),
    *_of(
        "endings",
        (
            "a failure after a wish to cancel is a cancellation",
            "target = PurchaseState.CANCELLED if asked and view.cancelled else PurchaseState.FAILED",
            "target = PurchaseState.CANCELLED if asked else PurchaseState.FAILED",
            "operator_cancelling.py::test_a_request_that_is_taken_over_and_fails_by_itself_is_no_cancellation",
        ),
    ),
    *_of(
        "decide",
        (
            "Completed without HEAD of the files",
            "if not case.observed.outputs_stored:",
            "if False:",
            f"{_PURCHASES}_files_that_are_gone_are_collected_again_from_the_kept_response",
        ),
        (
            "an abandoned purchase is looked for",
            "if purchase.abandoned or case.observed.superseded:",
            "if case.observed.superseded:",
            f"{_PURCHASES}_applied_again_after_a_resubmission_it_goes_on_with_the_second_attempt",
        ),
    ),
    *_of(
        "deletion",
        (
            "whoever is deleted cancels",
            "if purchase is not None and (purchase.job_id == resource.ref.uid or _used(run, purchase)):",
            "if purchase is not None:",
            f"{_DEFENCES}_a_deletion_cancels_only_what_the_resource_owns",
        ),
    ),
    *_of(
        "observe",
    ),
    *_of(
        "worker_jobs",
        (
            "a stale record is believed",
            "if known is not None and job_uid in (None, known.uid):",
            "if known is not None:",
            "operator_worker_jobs.py::test_two_operators_leave_the_job_of_the_other",
        ),
    ),
    *_of(
        "identity",
        (
            "the worker of another operator's Job is refused",
            "newest(job.owner.uid, job.uid)",
            "newest(job.owner.uid)",
            "operator_desk.py::test_the_worker_of_another_operators_job_gets_its_order",
        ),
    ),
    *_of(
        "orders",
        (
            "a response is read by who does not own the purchase",
            "if purchase.job_id != assignment.resource.ref.uid:",
            "if False:",
            "operator_desk.py::test_the_response_of_a_purchase_with_another_owner_is_not_signed",
        ),
    ),
    *_of(
        "summary",
        (
            "an estimate is shown as the cost",
            '"actual": dollars(run.known) if run.exact else "",',
            '"actual": dollars(run.known + run.estimated),',
            f"{_DECIDE}_the_cost_of_a_finished_run_is_the_providers_and_never_the_estimate",
        ),
    ),
    *_of(
        "costs",
        (
            "a request that nobody follows costs its estimate",
            "if purchase.state in _OPEN and found.source is CostSource.ESTIMATE:",
            "if False:",
            "operator_costs.py::test_a_request_that_nobody_follows_any_more_costs_what_nobody_knows",
        ),
    ),
    *_of(
        "providers/base",
        (
            "every input is the same",
            "def same_input(",
            "def same_input(*_: object) -> bool:\n    return True\n\n\ndef _same_input(",
            f"{_PROVIDERS}_inputs_are_compared_as_json",
        ),
    ),
    *_of(
        "providers/fal_history",
        (
            "the time of a request does not matter",
            "elif self.search.sent_after - MARGIN <= sent_at <= self.search.sent_before:",
            "else:",
            f"{_PROVIDERS}_fal_finds_by_the_time_and_by_the_whole_input",
        ),
        (
            "a claimed request is found again",
            "if not is_request_id(request_id) or request_id in self.search.claimed:",
            "if not is_request_id(request_id):",
            f"{_PROVIDERS}_two_lost_requests_with_the_same_input_take_one_each",
        ),
        (
            "a request whose input is not shown proves that it is absent",
            "span.complete = span.complete and request_id in span.same",
            "pass",
            f"{_PROVIDERS}_a_request_whose_input_is_not_shown_is_neither_taken_nor_absent",
        ),
    ),
    *_of(
        "providers/fal",
        (
            "a lost reply is a refusal",
            "            if gate.opened:\n",
            "            if not gate:\n",
            f"{_PROVIDERS}_fal_posts_once_and_judges",
        ),
        (
            "a connection is used again for a payment",
            "fresh = httpx.Limits(max_keepalive_connections=0)",
            "fresh = httpx.Limits(max_keepalive_connections=5)",
            f"{_PROVIDERS}_a_paid_post_is_sent_on_a_connection_of_its_own",
        ),
        (
            "a result that is gone is a failure",
            "if error is None and _is_gone(reply):",
            "if False:",
            f"{_PROVIDERS}_a_result_that_is_gone_is_taken_from_the_history",
        ),
    ),
    *_of(
        "providers/sending",
        (
            "what is raised before the first byte stops nothing",
            "        except Exception as error:\n            raise Stopped(error) from error\n",
            "        except Exception:\n            pass\n",
            f"{_PROVIDERS}_what_is_raised_before_the_request_stops_it",
        ),
    ),
)


def verdict(mutant: Mutant) -> str:
    """Run the mutant's test in a copy of the tree. Raises RuntimeError where there is no verdict."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        _copy(tree)
        file = tree / mutant.file
        file.write_text(mutant.mutated(file.read_text()))
        child = multiprocessing.get_context("fork").Process(target=_test, args=(tree, mutant.test))
        child.start()
        child.join(_SECONDS)
        if child.is_alive():
            child.kill()
            return ENDLESS
        if child.exitcode not in (0, 1):
            raise RuntimeError(f"{mutant.name}: pytest ended with {child.exitcode}:\n{(tree / 'log').read_text()}")
        return KILLED if child.exitcode == 1 else SURVIVED


def check(tests: list[str]) -> None:
    """Run the tests without a mutant. Raises RuntimeError where they do not pass in a copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        _copy(Path(folder))
        child = multiprocessing.get_context("fork").Process(target=_test, args=(Path(folder), *tests))
        child.start()
        child.join()
        if child.exitcode != 0:
            said = (Path(folder) / "log").read_text()
            raise RuntimeError(f"without a mutant, pytest ended with {child.exitcode}:\n{said}")


def _copy(tree: Path) -> None:
    """Copies of what may be changed or asserts; links to everything else."""
    for name in _COPIED:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    for folder in (ROOT, ROOT / "tests"):
        for each in folder.iterdir():
            target = tree / each.relative_to(ROOT)
            if not target.exists() and not each.name.startswith("."):
                target.symlink_to(each)


def _test(tree: Path, *tests: str) -> None:
    """In the child: the modules come from the copy."""
    output = os.open(tree / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(tree)
    sys.path[:0] = [str(tree / each) for each in _ON_PATH]
    code = _NO_VERDICT
    try:
        import pytest  # noqa: PLC0415 - preloaded by the parent, which a unit test of this module is not

        # Preloaded modules of pytest plugins are not rewritten, which matters to no test.
        quiet = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        code = pytest.main([*quiet, "--rootdir", str(tree), *tests])
    except BaseException:  # noqa: BLE001 - whatever it is, it is no verdict
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """The command line: ends with 1 where a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names")
    only = parser.parse_args().only
    chosen = [each for each in MUTANTS if only in each.name]
    for module in _PRELOADED:
        importlib.import_module(module)
    check(sorted({each.test for each in chosen}))
    survivors = []
    for mutant in chosen:
        began, found = time.monotonic(), verdict(mutant)
        survivors += [mutant] if found == SURVIVED else []
        print(f"{found:10} {mutant.name} ({time.monotonic() - began:.0f} s)\n    {mutant.test}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants are killed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
