"""Mutants of the defences around a purchase: `make mutants` shows that the named test fails for each.

A mutant changes one line in a temporary copy of the tree. `--only TEXT` takes those whose name contains it.
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
_COPIED = ("operator", "cli", "tests/unit", "tests/simulation", "pyproject.toml")
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
    return tuple(Mutant(name, path, old, new, f"tests/unit/{test}") for name, old, new, test in mutants)


_LEDGER = "operator/payment/test_ledger.py::test"
_PURCHASES = "operator/payment/test_purchases.py::test"
_SENDS = "operator/installations/test_sends.py::test"
_LOST = "operator/payment/test_lost_purchases.py::test"
_BACKUP = "tests/unit/gateway/migration/test_backup.py::test"
_DECIDE = "operator/runs/test_decide.py::test"
_PROVIDERS = "operator/providers/test_providers.py::test"
_DEFENCES = "operator/payment/test_purchase_defences.py::test"
_TENANCY = "operator/tenancy/test_tenancy.py::test"
_TAKEOVER = "operator/tenancy/test_tenant_takeover.py::test"
_SIGHT = "gateway/auth/test_tenancy.py::test"
_RUNS = "operator/runs/test_run_documents.py::test"
_FENCING = "operator/installations/test_fencing.py::test"
_CLASS = "operator/payment/test_purchase_class.py::test"
_APPROVAL = "operator/policies/test_approval.py::test"
_BUDGETS = "operator/policies/test_budgets.py::test"
_BUDGET_ATTACKS = "operator/policies/test_budget_attacks.py::test"
_LOST_REQUESTS = "operator/policies/test_budgets_of_lost_requests.py::test"
_ATTACKS = "operator/policies/test_attack_policies.py::test"
_QUEUE = "operator/policies/test_queue.py::test"
_REFUSALS = "operator/providers/test_refusals.py::test"
_TURNS = "operator/process/test_fair_turns.py::test"
_EXPIRY = "operator/policies/test_expiry.py::test"
_ADVICE = "tests/unit/contract/test_advice.py::test"
_GIVEN_UP = "operator/policies/test_given_up.py::test"
_TEMPORARY = "operator/process/test_temporary_files.py::test"
_EVENTS = "operator/notifications/test_events.py::test"
_DELIVERY = "operator/notifications/test_delivery.py::test"
_RECEIVERS = "operator/notifications/test_attack_receivers.py::test"
_PLAN = "            await self._notifications.plan(notifications, now)\n"
_ADOPTED = """\
        findings = _with_first_seen(found, last, now)
        for each in findings:
            self._ledger._ledger.update_one({"state": "intent"}, {"$set": {"requestId": each.request_id}})
"""
_AUDIT = "operator/audit/test_audit_rounds.py::test"
_COMPARED = "operator/audit/test_audit_comparison.py::test"
_ACCOUNTS = "operator/policies/test_provider_accounts.py::test"
_SAME = "operator/policies/test_same_request.py::test"
_UNKNOWN = "operator/payment/test_unknown_requests.py::test"

OF_POLICIES: tuple[Mutant, ...] = (
    *_of(
        "stores/ledger",
        (
            "same request: a new rerun value finds the earlier purchase",
            'if str(each["_id"]).split("/")[4] == rerun)',
            "if rerun)",
            f"{_SAME}_rerun_buys_and_finds_its_own",
        ),
        (
            "same request: the run's own purchase, bought meanwhile, is an earlier one",
            'if str(each["_id"]).rpartition("/")[0] != own)',
            "if own)",
            "simulation/test_restores.py::test_another_process_between_two_operations_of_the_ledger_changes_nothing",
        ),
        (
            "same request: a refused purchase counts as bought",
            "_readable(found) if not each.unpaid]",
            "_readable(found)]",
            f"{_SAME}_a_refused_one_counts_as_nothing",
        ),
    ),
    *_of(
        "decide/policies/same_request",
        (
            "same request: it is bought again",
            "    if same is None or first_problem",
            "    if True or first_problem",
            f"{_SAME}_same_request_is_paid_once",
        ),
        (
            "same request: the new key does not point to the purchase",
            "    if str(also) in purchase.also_under or",
            "    if True or",
            f"{_SAME}_the_new_key_is_found_before_the_free_stage",
        ),
    ),
    *_of(
        "state/canonical_request",
        (
            "same request: a site's speech models make a new request",
            'frozenset({"speech_models", ',
            "frozenset({",
            "operator/payment/test_canonical_request.py::test_settings_of_the_site_and_callbacks_are_no_content",
        ),
    ),
    *_of(
        "act",
        (
            "same request: the bucket is not asked for lost purchases",
            "await self._lost_equal(reservation, kept) or await self._marker_id(key, kept)",
            "await self._marker_id(key, kept)",
            f"{_SAME}_a_lost_ledger_pays_for_no_new_spelling",
        ),
        (
            "same request: the bucket does not learn its content",
            "for each in key.requests(purchase.content, purchase):",
            "for each in ():",
            f"{_SAME}_a_lost_ledger_pays_for_no_new_spelling",
        ),
        (
            "same request: the bucket is asked for any seed",
            "for each in key.requests(reservation.asked, planned) if key.attempt == 1 else ():",
            "for each in key.requests(planned.content, planned) if key.attempt == 1 else ():",
            f"{_SAME}_another_seed_is_bought_with_a_lost_ledger",
        ),
    ),
    *_of(
        "decide/decision",
        (
            "same request: a restored purchase is not used",
            "same_request.adopt_restored(case) or purchase_missing(case)",
            "purchase_missing(case)",
            f"{_SAME}_a_lost_ledger_pays_for_no_new_spelling",
        ),
    ),
    *_of(
        "decide/policies/approval",
        (
            "an approval counts before the status shows the wait",
            "if not _is_shown_waiting(case):",
            "if False:",
            f"{_APPROVAL}_an_approval_that_is_set_while_the_run_is_suspended_lapses",
        ),
        (
            "an approval of the manifest counts",
            "lapsed = tuple(each.digest for each in _given(case))",
            "lapsed = ()",
            f"{_APPROVAL}_an_approval_that_was_set_at_the_creation_lapses",
        ),
        (
            "an approval of another run counts",
            "if each.run == case.run.number)",
            "if each.run)",
            f"{_APPROVAL}_an_approval_without_a_user_or_of_another_run_has_no_effect",
        ),
        (
            "an edit that removes the approval pays for the earlier inputs",
            "not is_required(case) and (decided is None or verdict is Verdict.APPROVED)",
            "not is_required(case)",
            "operator/policies/test_decision_tables.py::test_the_table_of_approvals",
        ),
        (
            "an approval covers any price",
            "    return micros_of(price) <= micros_of(covered)\n",
            "    return True\n",
            f"{_APPROVAL}_a_price_that_rises_after_the_approval_waits_again_with_both",
        ),
        (
            "an approval covers more than was shown",
            "min(micros_of(given.amount) // _attempts(case), micros_of(waits.bound))",
            "micros_of(given.amount) // _attempts(case)",
            f"{_APPROVAL}_an_approval_covers_the_lowest_price_that_was_shown",
        ),
        (
            "an approved run is paid while its price can't be read",
            "        if _is_unread(case):\n            return _price_unread(case)\n",
            "",
            f"{_APPROVAL}_a_price_that_cannot_be_read_is_a_wait",
        ),
    ),
    Mutant(
        "megapixels are rounded to the nearest",
        "operator/contentgen_contract/resources/prices.py",
        "math.ceil(spec.image.size.width",
        "round(spec.image.size.width",
        "tests/unit/contract/test_prices.py::test_megapixels_are_rounded_up_for_each_picture",
    ),
    Mutant(
        "the upper bound of audio has no further second",
        "operator/contentgen_contract/resources/prices.py",
        "math.ceil(duration_seconds) + 1 if",
        "math.ceil(duration_seconds) if",
        "tests/unit/contract/test_content_budget.py::test_the_upper_bound",
    ),
    Mutant(
        "a price permits a model",
        "operator/contentgen_operator/decide/purchasable.py",
        "    if model in (map(full_name, listed) if listed else BUILT_IN_MODELS):\n",
        "    if model in map(full_name, listed) or not listed and case.price is not None:\n",
        "tests/unit/operator/payment/test_buyable.py::test_a_price_alone_permits_no_model",
    ),
    Mutant(
        "the gateway asks no right to approve",
        "operator/contentgen_gateway/services/changes/actions.py",
        "        if not await self.authorizer.may(caller, Verb.APPROVE, kind, namespace, name):\n",
        "        if False:\n",
        "tests/unit/gateway/auth/test_approve.py::test_it_needs_the_verbs_approve_and_patch",
    ),
    *_of(
        "decide/policies/gate",
        (
            "nothing waits for an approval",
            "    approval.hold,  # before those that reserve something\n",
            "",
            "simulation/test_rehearsal.py::test_a_run_that_is_edited_while_it_waits_needs_an_approval_of_its_new_number",
        ),
    ),
    *_of(
        "stores/budgets",
        (
            "budget: the limit is not compared",
            'where["held"] = {"$lte": ref.limit - room}',
            'where["held"] = {"$lte": ref.limit + room}',
            f"{_BUDGETS}_a_refused_claim_releases_the_others",
        ),
        (
            "budget: a refused claim keeps the others",
            "                    self._undo(made)\n                    return each.ref\n",
            "                    return each.ref\n",
            f"{_BUDGETS}_a_refused_claim_releases_the_others",
        ),
        (
            "budget: a renewal keeps its token",
            '"token": token, "at": now, "paid"',
            '"token": claims.purchase, "at": now, "paid"',
            f"{_BUDGETS}_a_release_by_an_old_token_does_nothing",
        ),
        (
            "budget: a missing window is not summed",
            "                self._settle(ref.id, now, thorough=True)\n",
            '                self._collection.update_one({"_id": ref.id}, {"$set": {"summed": True}})\n',
            f"{_BUDGETS}_a_missing_window_is_summed_before_it_takes_a_claim",
        ),
        (
            "budget: a resource that is gone keeps its claim for ever",
            "_REFUSED or not _is_newer(claim, now, _PAYING)",
            "_REFUSED",
            f"{_BUDGET_ATTACKS}_a_resource_whose_finalizer_was_removed_by_hand_keeps_no_money",
        ),
        (
            "budget: a claim that is about to be paid is released",
            "_REFUSED or not _is_newer(claim, now, _PAYING)",
            "_REFUSED or True",
            f"{_BUDGET_ATTACKS}_a_resource_whose_finalizer_was_removed_by_hand_keeps_no_money",
        ),
        (
            "budget: a request that is found again leaves the sum",
            "[*_ENDED, PurchaseState.SUBMITTED.value]",
            "_ENDED",
            f"{_LOST_REQUESTS}_a_replaced_request_that_is_found_again_counts_all_the_time",
        ),
        (
            "budget: an adopted request above the limit is no overrun",
            'change["$inc"] |= {"overrun": excess, "excess": excess}',
            "pass",
            f"{_LOST_REQUESTS}_an_adopted_request_above_the_limit_is_an_overrun",
        ),
        (
            "budget: a sum that grows above the limit is no overrun",
            "grown = max(held - more_above, 0)",
            "grown = 0",
            f"{_LOST_REQUESTS}_a_sum_that_grows_above_the_limit_is_an_overrun",
        ),
        (
            "budget: a purchase that is sent during a sum counts twice",
            " or self._is_counted_twice(found, after)",
            "",
            f"{_LOST_REQUESTS}_a_purchase_that_is_claimed_and_sent_during_a_sum_counts_once",
        ),
        (
            "budget: the claim of a paid purchase is released before the ledger has it",
            '    if claim.get("paid"):',
            "    if False:",
            f"{_LOST_REQUESTS}_a_claim_of_a_paid_purchase_stays_while_the_ledger_lacks_it",
        ),
        (
            "budget: an unknown price is claimed where nothing is left",
            "max(claim.micros, claim.least) - had",
            "more",
            f"{_LOST_REQUESTS}_an_unknown_price_is_claimed_only_while_something_is_left",
        ),
    ),
    *_of(
        "observe",
        (
            "budget: an adopted request counts in today's window",
            "(case.run.sent_at if was_rewound(seen) else None) or case.now",
            "case.now",
            f"{_LOST_REQUESTS}_an_adopted_request_counts_in_the_window_of_its_post",
        ),
    ),
    *_of(
        "decide/policies/budget",
        (
            "budget: a run without a known price ignores what is left",
            "bound if bound is not None else 1",
            "bound if bound is not None else 0",
            "operator/policies/test_budget_decisions.py::test_the_decision_table",
        ),
    ),
    *_of(
        "act",
        (
            "budget: nothing is claimed",
            "        await self._claim(plan, now)\n",
            "",
            f"{_BUDGETS}_three_budgets_on_one_run_are_claimed_together",
        ),
        (
            "budget: a claim is not renewed before the payment",
            "        if (refused := await self._budgets",
            "        if plan.payment is None and (refused := await self._budgets",
            f"{_BUDGETS}_a_planned_purchase_is_sent_only_with_a_renewed_claim",
        ),
        (
            "budget: an adopted request is not claimed",
            "            await self._budgets.claim(plan.claims, now)\n",
            "            pass\n",
            f"{_LOST_REQUESTS}_an_adopted_request_counts_at_once",
        ),
        (
            "budget: a frozen leader adopts after the release of its claims",
            "        self._leadership.check()  # the claims of budgets of a frozen process may be released\n",
            "",
            f"{_LOST_REQUESTS}_a_leader_frozen_while_it_adopts",
        ),
    ),
    *_of(
        "queues/fair_turns",
        (
            "queue: a namespace that starts keeps its turn",
            "            rotation.move_to_end(claimant.namespace)",
            "            rotation.move_to_end(claimant.namespace, last=False)",
            f"{_TURNS}_three_namespaces_with_900_90_and_10_runs",
        ),
        (
            "queue: a priority is of the cluster",
            "        return next((found for each in self._common if (found := head(each, firsts)) is not None), None)",
            "        return min(firsts.values(), key=lambda each: each.rank)",
            f"{_TURNS}_the_rule_holds_for_random_work",
        ),
        (
            "queue: the places of one provider account are those of all",
            "        return Account(self.provider, self.account)",
            "        return Account(self.provider)",
            f"{_TURNS}_each_account_at_a_provider_has_the_providers_places",
        ),
        (
            "circuit: that of one provider account holds the others",
            "        return Endpoint(self.provider, self.model, self.account)",
            "        return Endpoint(self.provider, self.model)",
            f"{_QUEUE}_the_circuit_of_one_provider_account_does_not_hold_another",
        ),
    ),
    *_of(
        "queues/payment_queue",
        (
            "circuit: a 403 of one namespace opens it",
            "_BLOCKED_NAMESPACES = 3",
            "_BLOCKED_NAMESPACES = 1",
            f"{_REFUSALS}_only_blocks_of_several_namespaces_open_the_circuit",
        ),
        (
            "queue: a purchase that ends keeps its place",
            "        elif self._free(purchase.purchase_id):",
            "        elif False:",
            f"{_QUEUE}_a_waiting_run_is_paid_once_when_the_place_is_free",
        ),
        (
            "queue: open purchases are not counted after a restart",
            "                self._occupy(found[purchase_id])",
            "                pass",
            f"{_QUEUE}_a_restart_neither_loses_nor_leaks_places",
        ),
        (
            "queue: a place that is not used is kept",
            "for each, (_, until) in self._grants.items() if until <= now]",
            "for each, (_, until) in self._grants.items() if until < 0]",
            f"{_QUEUE}_a_place_that_is_not_used_is_given_back",
        ),
    ),
    *_of(
        "reconcile",
        (
            "queue: a run without a place is paid",
            "        if turn.granted:\n            return plan\n",
            "        if turn is not None:\n            return plan\n",
            f"{_QUEUE}_each_waiting_resource_says_what_it_waits_for",
        ),
        (
            "queue: a run whose Job is refused keeps its place",
            "            self._payment_queue.leave(resource.ref.uid)\n            return self._pause(resource.ref)",
            "            return self._pause(resource.ref)",
            f"{_QUEUE}_a_run_whose_job_is_refused_holds_no_place",
        ),
        (
            "queue: a run that no longer asks stays in it",
            "        if not queue.asks(plan):\n            self._payment_queue.leave(case.resource.ref.uid)\n",
            "        if not queue.asks(plan):\n",
            f"{_QUEUE}_a_run_that_no_longer_asks_leaves_the_queue",
        ),
        (
            "queue: a resource with a damaged status stays in it",
            "            self._payment_queue.leave(ref.uid)\n            _log.warning(",
            "            _log.warning(",
            f"{_QUEUE}_a_resource_that_cannot_be_read_any_more_leaves_the_queue",
        ),
    ),
    *_of(
        "decide/decision",
        (
            "queue: a wait for something else counts against its deadline",
            "    plan = queue.without_wait(with_open_requests(",
            "    plan = (with_open_requests(",
            f"{_QUEUE}_a_wait_for_something_else_does_not_count_against_the_queue_deadline",
        ),
    ),
    *_of(
        "state/open_places",
        (
            "queue: a request that nobody finds keeps its place for ever",
            "    return now - (purchase.sent_at or purchase.changed_at) < _LOST_REPLY",
            "    return True",
            f"{_QUEUE}_a_lost_reply_keeps_its_place_for_an_hour",
        ),
    ),
    *_of(
        "kube/api",
        (
            "expiry: the dry run deletes, and then the files go too",
            '            options["dryRun"] = ["All"]\n',
            "            pass\n",
            "operator/process/test_kube.py::test_a_resource_is_deleted_only_as_it_was_decided_on",
        ),
    ),
    *_of(
        "decide/decision",
        (
            "budget: a run that waits with a planned purchase keeps its claims",
            "    return budget.claims_of(case) if unused else ()",
            "    return ()",
            f"{_ATTACKS}_a_run_that_waits_with_a_planned_purchase_holds_no_money",
        ),
        (
            "approval: a run whose plan is withdrawn is shown as refused",
            "    if left <= 0 or plan.reservation is None:",
            "    if left <= 0:",
            f"{_ATTACKS}_a_run_whose_plan_is_withdrawn_is_shown_as_waiting_all_the_time",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "approval: a status is believed without a run document",
            '    return run.model_copy(update={"approval": None})',
            "    return run",
            f"{_ATTACKS}_an_approval_that_only_a_status_names_does_not_count",
        ),
    ),
    *_of(
        "decide/policies/gate",
        (
            "gate: an edit that is seen after the wait does not count",
            "if shown and shown in waited else None",
            "if shown and shown in () else None",
            f"{_ATTACKS}_a_queued_run_that_is_edited_while_no_operator_runs_is_not_paid",
        ),
    ),
    *_of(
        "providers/base",
        (
            "circuit: a tenant's invalid input stops the others",
            '        case Refused():\n            return ""\n',
            '        case Refused():\n            return "refused"\n',
            f"{_QUEUE}_only_failures_of_the_endpoint_open_it",
        ),
        (
            "circuit: other tenants see a provider's text",
            '            return "the provider was busy or could not be reached"',
            "            return str(error)",
            f"{_QUEUE}_the_circuit_opens_after_failures_and_holds_other_namespaces_without_their_text",
        ),
    ),
    *_of(
        "kube/job_manifests",
        (
            "kueue: a resource chooses another queue than the administrator",
            "    job_labels = queue | template.pod.job_labels",
            "    job_labels = template.pod.job_labels | queue",
            "operator/policies/test_kueue.py::test_the_administrators_queue_is_that_of_all_resources",
        ),
    ),
    *_of(
        "act",
        (
            "expiry: the finalizer stays, which deletes the files",
            "            resource = await self._without_finalizer(resource)\n        self._leadership.check()\n",
            "        self._leadership.check()\n",
            f"{_EXPIRY}_files_record_ledger_and_run_document_are_kept",
        ),
        (
            "expiry: without the dry run",
            "            await self._kube.delete_resource(resource.ref, resource.resource_version, dry_run=True)\n",
            "",
            f"{_EXPIRY}_a_finalizer_stays_where_the_operator_may_not_delete",
        ),
        (
            "given up: the label is fought for",
            "if before == after or resource.given_up == wanted:",
            "if resource.given_up == wanted:",
            f"{_GIVEN_UP}_other_labels_stay_and_a_forged_one_is_left",
        ),
    ),
    *_of(
        "decide/policies/cleanup",
        (
            "expiry: although a request is open",
            "if any(history_searches.is_open(each, case.now) for each in own):",
            "if False:",
            f"{_EXPIRY}_a_forged_end_deletes_nothing_while_a_request_is_open",
        ),
        (
            "expiry: although a paid result waits",
            "if any(map(_has_result, _waiting(case))):",
            "if False:",
            f"{_EXPIRY}_a_failed_run_with_a_paid_result_is_kept_until_it_is_collected",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "expiry: a LoRA that a person deleted is used",
            "return last if last is not None and last.expired_at is not None else None",
            "return last",
            f"{_EXPIRY}_an_image_waits_for_a_lora_that_a_person_deleted",
        ),
    ),
    *_of(
        "stores/temporary_files",
        (
            "temporary files: outcomes of runs that go on",
            "(of.run < newest or (of.run == newest and ended))",
            "of.run <= newest",
            f"{_TEMPORARY}_outcomes_that_a_run_may_wait_for_are_kept_however_old",
        ),
    ),
    *_of(
        "stores/bucket_lifecycle",
        (
            "lifecycle: rules of others are replaced",
            'given: Any = {"Rules": [*others, *ours]}',
            'given: Any = {"Rules": ours}',
            f"{_TEMPORARY}_rules_of_others_stay_as_they_are",
        ),
    ),
    *_of(
        "act",
        (
            "notifications: they are planned after the status",
            _PLAN,
            f"            await self.write_status(resource, plan.status)\n{_PLAN}",
            f"{_EVENTS}_a_crash_at_any_write_neither_loses_nor_invents_a_notification",
        ),
        (
            "notifications: they are released before the status",
            _PLAN,
            f"{_PLAN}            await self._release(notifications, now)\n",
            f"{_EVENTS}_a_release_follows_the_status",
        ),
    ),
    *_of(
        "stores/notifications",
        (
            "notifications: a former leader's stay",
            '            self._collection.delete_one({"_id": document["_id"], "revision": document["revision"]})\n',
            "            pass\n",
            f"{_EVENTS}_a_former_leader_plans_nothing",
        ),
        (
            "notifications: those of another installation are sent",
            "where: Document = self._class | {",
            "where: Document = {",
            f"{_RECEIVERS}_another_installation_sends_no_notification_of_this_one",
        ),
        (
            "notifications: an attempt is not claimed",
            '        where = {"_id": entry.notification.id, "revision": entry.revision}\n        done',
            '        where = {"_id": entry.notification.id}\n        done',
            f"{_DELIVERY}_two_operators_send_one_attempt",
        ),
    ),
    *_of(
        "background/notifier",
        (
            "notifications: what a crash left is not released",
            "            await self.confirm_left(now)\n",
            "",
            f"{_EVENTS}_a_crash_after_the_status_is_made_up_for_by_the_notifier",
        ),
        (
            "notifications: one is marked before it is sent",
            '"next_at": now + _CLAIMED,\n',
            '"next_at": now + _CLAIMED, "state": NotificationState.DELIVERED,\n',
            "simulation/test_rehearsal.py::test_a_notification_reaches_its_receiver_whatever_fails",
        ),
        (
            "notifications: a receiver may take all places",
            "            and self.hosts[host_of(notification.url)] < _AT_ONCE_OF_A_HOST\n",
            "",
            f"{_DELIVERY}_slow_receivers_hold_their_own_places_only",
        ),
        (
            "notifications: a namespace may take all places",
            "            and self.namespaces[notification.ref.namespace] < _AT_ONCE_OF_A_NAMESPACE\n",
            "",
            f"{_DELIVERY}_a_namespace_with_many_hosts_leaves_places_to_others",
        ),
        (
            "notifications: the first namespaces always come first",
            "due(now, _LISTED, self._running.turn_of, ",
            "due(now, _LISTED, lambda _: 0, ",
            f"{_RECEIVERS}_namespaces_that_are_always_busy_leave_turns_to_others",
        ),
        (
            "notifications: a busy host hides the others of its namespace",
            "self._running.busy_hosts)",
            "())",
            f"{_RECEIVERS}_a_slow_receiver_does_not_hide_the_others_of_its_namespace",
        ),
        (
            "notifications: 410 is an error as any other",
            "    if status == _GONE:\n",
            "    if status == -1:\n",
            f"{_DELIVERY}_410_ends_all_notifications_of_the_resource_to_this_url",
        ),
        (
            "notifications: a former leader sends",
            "            self._check()\n            headers",
            "            headers",
            f"{_DELIVERY}_a_former_leader_sends_nothing_that_it_has_claimed",
        ),
    ),
    *_of(
        "webhooks/guarded_post",
        (
            "notifications: a name may lead to a private address",
            "                if why := refusal(each):\n",
            "                if why := False and refusal(each):\n",
            f"{_DELIVERY}_each_attempt_checks_the_address_again",
        ),
        (
            "notifications: only the first address is checked",
            "            for each in addresses:\n                if why",
            "            for each in addresses[:1]:\n                if why",
            f"{_DELIVERY}_one_private_address_among_public_ones_is_refused",
        ),
        (
            "notifications: the name is resolved again for the connection",
            "connect_tcp(self._address, ",
            "connect_tcp(host, ",
            f"{_DELIVERY}_a_delivery_is_signed_by_a_published_key",
        ),
        (
            "notifications: interim responses without end are read",
            "        if self._left < 0:\n",
            "        if False:\n",
            f"{_RECEIVERS}_endless_interim_responses_do_not_hold_the_event_loop",
        ),
        (
            "notifications: the first address takes all the time",
            "self._seconds / (len(tried) + 1)",
            "self._seconds",
            f"{_RECEIVERS}_an_address_that_does_not_respond_leaves_time_for_the_next_one",
        ),
        (
            "notifications: a date ends no attempt",
            "except (TypeError, ValueError, OverflowError):",
            "except (TypeError, ValueError):",
            f"{_RECEIVERS}_a_pause_of_any_size_is_no_error",
        ),
        (
            "notifications: an attempt may last for ever",
            "            async with asyncio.timeout(self._seconds):\n",
            "            async with asyncio.timeout(None):\n",
            f"{_DELIVERY}_a_response_that_trickles_ends_in_time",
        ),
    ),
    *_of(
        "webhooks/granted_headers",
        (
            "notifications: headers are sent without a grant",
            "        if why := grant_refusal(",
            "        if why := False and grant_refusal(",
            f"{_DELIVERY}_headers_that_are_not_granted_are_not_sent",
        ),
    ),
    Mutant(
        "notifications: a share shows the receivers",
        "operator/contentgen_gateway/services/changes/notifications.py",
        "        await self.jobs.load(caller, job_id, Verb.GET)\n",
        "        await self.jobs.visibility.job(caller, job_id)\n",
        "tests/unit/gateway/policies/test_notifications.py::test_a_share_does_not_show_the_receivers",
    ),
    Mutant(
        "notifications: another job's notification is resent",
        "operator/contentgen_gateway/stores/notifications.py",
        '            found = self._collection.find_one({"_id": identity, "jobId": {"$eq": job_id}}, _HIDDEN)\n',
        '            found = self._collection.find_one({"_id": identity}, _HIDDEN)\n',
        "tests/unit/gateway/policies/test_notifications.py::test_rights",
    ),
    *_of(
        "providers/audited",
        (
            "audit: its clients may send more than reads",
            '        if request.method != "GET" or _READABLE.fullmatch(path) is None:\n',
            "        if _READABLE.fullmatch(path) is None:\n",
            f"{_AUDIT}_the_clients_refuse_everything_but_the_reads",
        ),
    ),
    *_of(
        "audit/comparison",
        (
            "audit: purchases of other installations are missing",
            " if each.purchase.operator_class in known)",
            ")",
            f"{_COMPARED}_the_differences_of_each_case_are_found",
        ),
        (
            "audit: one lost reply accounts for any number of requests",
            "            lost.remove(excuse)\n",
            "",
            f"{_COMPARED}_the_differences_of_each_case_are_found",
        ),
        (
            "audit: a list that was read in part proves that a request is missing",
            "            and self.is_complete(each.purchase.provider, AuditSubject.REQUESTS, each.purchase.account)\n",
            "",
            f"{_COMPARED}_the_differences_of_each_case_are_found",
        ),
        (
            "audit: the list of one account proves that a request of another one is missing",
            "(each.provider, each.subject, each.account) == part]",
            "(each.provider, each.subject) == part[:2]]",
            f"{_COMPARED}_purchases_of_an_account_that_was_not_read_are_no_findings",
        ),
    ),
    *_of(
        "background/audits",
        (
            "audit: it adopts what it finds",
            "        findings = _with_first_seen(found, last, now)\n",
            _ADOPTED,
            "simulation/test_rehearsal.py::test_an_audit_that_finds_an_unknown_request_changes_nothing",
        ),
        (
            "audit: listed requests are not looked up in the ledger",
            "        older = await self._ledger.of_requests({request_id for _, request_id in named} - known)\n",
            "        older = ()\n",
            f"{_AUDIT}_a_request_that_is_sent_during_the_audit_is_known",
        ),
    ),
    *_of(
        "background/usage",
        (
            "usage metrics: any number of series",
            "shown = order if len(order) <= most else order[: most - 1]",
            "shown = order",
            "operator/process/test_usage_metrics.py::test_the_series_are_limited_and_the_rest_is_added_up",
        ),
    ),
    Mutant(
        "advice: a paid earlier attempt of a run counts as nothing",
        "operator/contentgen_contract/advice/remedies.py",
        "    return earlier_payment_state(facts) if said is Paid.NOTHING else said\n",
        "    return said\n",
        f"{_ADVICE}_no_reason_says_after_a_paid_attempt_that_nothing_was_paid",
    ),
    Mutant(
        "advice: after a paid attempt another one costs as if it were the first",
        "operator/contentgen_contract/advice/remedies.py",
        "    earlier = earlier_payment_state(facts)\n    if earlier is Paid.NOTHING:\n",
        "    earlier = earlier_payment_state(facts)\n    if True:\n",
        f"{_ADVICE}_no_reason_says_after_a_paid_attempt_that_nothing_was_paid",
    ),
    Mutant(
        "advice: an attempt of a deleted resource counts as not billed",
        "operator/contentgen_operator/decide/status.py",
        "    return False if len(known) >= run.paid_attempt - 1 else None\n",
        "    return False\n",
        f"{_ADVICE}_an_attempt_of_a_deleted_resource_is_not_known_to_be_unpaid",
    ),
    Mutant(
        "advice: retry pays again without a question after a paid earlier attempt",
        "cli/contentgen_cli/commands/retrying.py",
        "    return was_sent(item) or remedies.payment_state(item.facts) is not Paid.NOTHING\n",
        "    return was_sent(item)\n",
        "tests/unit/cli/test_cli.py::test_a_run_whose_earlier_attempt_was_paid_is_not_retried_unasked",
    ),
    *_of(
        "decide/payment",
        (
            "accounts: the default one pays",
            "        account=case.observed.account.name,\n",
            "",
            f"{_ACCOUNTS}_each_kind_is_paid_polled_and_recorded_with_the_granted_account",
        ),
        (
            "accounts: a planned purchase keeps a withdrawn one",
            "    if planned.account != purchase.account:",
            "    if False:",
            f"{_ACCOUNTS}_a_grant_that_changes_before_the_payment_is_followed",
        ),
        (
            "accounts: a purchase that the ledger has lost is of the default one",
            "        account=run.provider_account,\n",
            "",
            f"{_ACCOUNTS}_a_restored_ledger_does_not_change_the_account",
        ),
    ),
    *_of(
        "decide/policies/gate",
        (
            "accounts: no policy of the gate",
            "    provider_accounts.hold,\n",
            "",
            f"{_ACCOUNTS}_an_unknown_account_is_waited_for_and_the_default_one_never_pays",
        ),
    ),
    *_of(
        "state/policies/provider_accounts",
        (
            "accounts: an unknown label means the default one",
            "    if given == DEFAULT_ACCOUNT:",
            "    if given not in configured:",
            f"{_ACCOUNTS}_an_unknown_account_is_waited_for_and_the_default_one_never_pays",
        ),
    ),
    *_of(
        "kube/namespace_policies",
        (
            "accounts: the label of a namespace that was created again is a grant",
            'body is None or (tenant.uid and body["metadata"]["uid"] != tenant.uid)',
            "body is None",
            f"{_ACCOUNTS}_the_label_of_a_namespace_that_was_created_again_is_no_grant",
        ),
    ),
    *_of(
        "providers/accounts",
        (
            "accounts: the default one is asked instead of a removed one",
            "        return _Missing(provider, account)",
            "        return self._default[provider]",
            f"{_ACCOUNTS}_a_removed_account_is_named_and_nothing_is_paid_again",
        ),
    ),
    *_of(
        "observe",
        (
            "accounts: a request is asked for with the default one",
            "return self._providers.provider(purchase.provider, purchase.account)",
            "return self._providers.provider(purchase.provider, None)",
            f"{_ACCOUNTS}_a_request_stays_with_its_account_when_the_label_changes",
        ),
    ),
    *_of(
        "act",
        (
            "accounts: a request is cancelled with the default one",
            "self._providers.provider(cancel.provider, cancel.account)",
            "self._providers.provider(cancel.provider, None)",
            f"{_ACCOUNTS}_a_cancellation_uses_the_account_of_the_request",
        ),
        (
            "accounts: CRDs may drop it",
            ' or (account and kept.get("providerAccount") != account)',
            "",
            f"{_ACCOUNTS}_crds_that_drop_the_account_stop_the_payment",
        ),
    ),
    *_of(
        "background/orphans",
        (
            "accounts: an orphan is asked for with the default one",
            "return self._providers.provider(purchase.provider, purchase.account)",
            "return self._providers.provider(purchase.provider, None)",
            f"{_ACCOUNTS}_an_orphan_is_followed_with_its_account_in_a_namespace_that_was_created_again",
        ),
        (
            "accounts: one that does not answer delays the others",
            "self._away.add((purchase.provider, purchase.account))",
            'self._away |= {(purchase.provider, None), (purchase.provider, "team-a")}',
            f"{_ACCOUNTS}_an_orphan_of_a_removed_account_waits_and_blocks_no_other_account",
        ),
    ),
    *_of(
        "background/settlement",
        (
            "accounts: charges are asked for with any key",
            "[each for each in found if each.account == account]",
            "list(found)",
            f"{_ACCOUNTS}_charges_are_asked_for_with_the_key_of_each_account",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "accounts: that of a status is believed",
            '        return run.model_copy(update={"provider_account": account})',
            "        return run",
            f"{_ACCOUNTS}_an_account_that_only_a_status_names_is_not_used",
        ),
    ),
)
"""Mutants of the policies, of which `make acceptance` is."""
SAMPLE = (
    "an approval of another run counts",
    "budget: a refused claim keeps the others",
    "queue: a namespace that starts keeps its turn",
    "expiry: without the dry run",
    "notifications: 410 is an error as any other",
    "audit: one lost reply accounts for any number of requests",
    "accounts: an unknown label means the default one",
)
"""Names of one cheap mutant of each policy, for `make test`."""
MUTANTS: tuple[Mutant, ...] = (
    *OF_POLICIES,
    *_of(
        "stores/records",
        (
            "record: the revision is not compared",
            '    "revision", "status", "phase",',
            '    "status", "phase",',
            f"{_FENCING}_a_record_that_another_process_has_written_is_not_overwritten",
        ),
        (
            "record: what a former leader creates stays",
            '            self._collection.delete_one({"_id": made, "revision": 1})\n',
            "",
            f"{_FENCING}_a_record_that_a_former_leader_creates_is_taken_back",
        ),
    ),
    *_of(
        "stores/ledger",
        (
            "intend: another process's plan is taken over late",
            '            change["$addToSet"] = {"formerOwners": before["jobId"]}\n        self._check()\n',
            '            change["$addToSet"] = {"formerOwners": before["jobId"]}\n',
            f"{_FENCING}_what_another_process_has_planned_is_not_taken_over",
        ),
        (
            "intend: a former leader deletes the plan that the next one uses",
            '({} if purchase.planned else {"jobId": {"$ne": job_id}})',
            '{"jobId": {"$ne": job_id}}',
            f"{_FENCING}_a_purchase_that_the_next_leader_plans_too_is_not_taken_back",
        ),
        (
            "take_over: without the question who leads",
            '        seen = list(self._collection.find(others, {"jobId": 1, "state": 1}))\n        self._check()\n',
            '        seen = list(self._collection.find(others, {"jobId": 1, "state": 1}))\n',
            f"{_FENCING}_finished_purchases_are_not_taken_over_late",
        ),
        (
            "adopt: what became of an orphan is not compared",
            'where |= {"orphanedAt": purchase.orphaned_at, ',
            "where |= {",
            f"{_FENCING}_an_adoption_is_compared_with_what_became_of_an_orphan",
        ),
        (
            "send: the plan is not compared",
            'where |= {"changedAt": planned_at} if planned_at is not None else {}',
            "where |= {}",
            f"{_FENCING}_a_purchase_that_was_planned_anew_is_not_sent_by_who_saw_the_earlier_plan",
        ),
    ),
    *_of(
        "stores/ledger",
        (
            "adopt: the class stays the former owner's",
            '"discardAsked": False} | self._class',
            '"discardAsked": False}',
            f"{_CLASS}_the_class_changes_with_the_owner_and_with_who_sends",
        ),
        (
            "open purchases: also those of other classes",
            'self._class | {"state": {"$in": _OPEN}',
            '{"state": {"$in": _OPEN}',
            f"{_CLASS}_the_ledger_gives_a_class_its_own_in_all_namespaces_and_never_anothers",
        ),
    ),
    *_of(
        "background/orphans",
        (
            "unseen: gone at the provider is the end of what nobody may read",
            "if view.state in MISSING and not seen:",
            "if False:",
            f"{_CLASS}_a_provider_that_does_not_know_a_request_ends_nothing_that_cannot_be_seen",
        ),
        (
            "unseen: cancelled although nobody may read its resource",
            "if is_open and seen and is_to_be_cancelled(",
            "if is_open and is_to_be_cancelled(",
            f"{_CLASS}_what_cannot_be_seen_is_neither_cancelled_nor_discarded_nor_called_gone",
        ),
        (
            "unseen: a 403 is read as gone",
            "return FollowState.UNSEEN\n\n    async def _take",
            "return FollowState.GONE\n\n    async def _take",
            f"{_CLASS}_the_result_is_stored_where_the_resource_cannot_be_read",
        ),
    ),
    *_of(
        "polling",
        (
            "poll: a stored response does not outlive the provider's",
            "if has_none and await _is_stored(storage, purchase):",
            "if False:",
            f"{_CLASS}_a_stored_response_that_the_ledger_does_not_name_is_used_by_its_resource",
        ),
        (
            "poll: the ignorance of another key is evidence",
            "same = asked_by is not None and asked_by == purchase.key_id",
            "same = True",
            f"{_UNKNOWN}_what_counts_as_evidence",
        ),
        (
            "poll: the ignorance of a provider that knows nothing is evidence",
            "asked and await _knows_another(ledger, provider, purchase)",
            "asked",
            f"{_UNKNOWN}_what_counts_as_evidence",
        ),
    ),
    *_of(
        "observe",
        (
            "a lost response is not read again",
            '{"response_missing": True} | await self._read_again(purchase, now)',
            "{}",
            f"{_UNKNOWN}_a_response_that_is_lost_before_it_is_collected_is_read_again",
        ),
        (
            "a result that is to be deleted is read again",
            "if purchase.request_id is None or purchase.discard_asked or purchase.expired_at is not None:",
            "if purchase.request_id is None:",
            f"{_UNKNOWN}_a_result_that_is_to_be_deleted_is_not_read_again",
        ),
    ),
    *_of(
        "act",
        (
            "a Job is stopped late",
            "        self._leadership.check()  # after the uid was read: a Job of the next leader has another one\n",
            "",
            f"{_FENCING}_a_job_of_the_next_leader_is_not_stopped_late",
        ),
        (
            "a Job that another process has not recorded is replaced late",
            "        self._leadership.check()  # otherwise the leader may be about to record it\n",
            "",
            f"{_FENCING}_a_former_leader_changes_nothing",
        ),
    ),
    *_of(
        "stores/worker_jobs",
        (
            "the record of a Job is replaced whatever it is",
            'replace_one({"_id": before["_id"], "uid": before["uid"]}, document)',
            'replace_one({"_id": before["_id"]}, document)',
            f"{_FENCING}_the_job_of_the_next_leader_stays_its_resources_newest",
        ),
    ),
    *_of(
        "worker_api/server",
        (
            "a former leader serves workers",
            "        self._check()\n        try:\n            known =",
            "        try:\n            known =",
            f"{_FENCING}_a_former_leader_serves_no_worker",
        ),
    ),
    *_of(
        "stores/ledger",
        (
            "send: the step is not compared",
            'where: Document = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": _INTENT, "jobId": purchase.job_id}',
            f"{_LEDGER}_one_of_many_pays",
        ),
        (
            "send: the owner is not compared",
            'where: Document = {"_id": str(key), "state": _INTENT, "step": _PLANNED, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": _INTENT, "step": _PLANNED}',
            f"{_LEDGER}_what_is_planned_for_another_resource_is_sent_by_nobody_else",
        ),
        (
            "intend: what may have been sent is planned again",
            'planned = {"state": _INTENT, "step": _PLANNED} | (',
            'planned = {"state": _INTENT} | (',
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
            '_KEPT = {"tries", "purchaseId", "formerOwners", "sendNumber", "endedBy"}',
            '_KEPT = {"tries", "formerOwners", "sendNumber", "endedBy"}',
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
            'where: Document = {"_id": str(key), "state": purchase.state.value, "jobId": purchase.job_id}',
            'where = {"_id": str(key), "state": purchase.state.value}',
            f"{_LEDGER}_a_purchase_has_one_owner",
        ),
        (
            "adopt: the state is not compared",
            'where: Document = {"_id": str(key), "state": purchase.state.value, "jobId": purchase.job_id}',
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
        "stores/s3",
        (
            "markers and responses are overwritten",
            'Body=body, ContentType="application/json", IfNoneMatch="*"',
            'Body=body, ContentType="application/json"',
            "operator/process/test_storage.py::test_a_marker_and_a_response_are_written_once",
        ),
        (
            "an unreadable marker is a name",
            "return named if isinstance(named, str) and re.fullmatch(patterns.UID, named) else _UNREADABLE",
            "return str(named)",
            "operator/process/test_storage.py::test_a_marker_that_cannot_be_read_is_that_of_another_purchase",
        ),
        (
            "files to keep are deleted",
            'for each in listed if each["Key"] not in keep]',
            "for each in listed]",
            "operator/process/test_storage.py::test_files_to_keep_stay_where_a_prefix_is_deleted",
        ),
    ),
    *_of(
        "act",
        (
            "the status does not name the marker's purchase",
            'update={"purchase_id": named})',
            'update={"purchase_id": kept.purchase_id})',
            f"{_DEFENCES}_the_status_names_the_purchase_of_the_marker",
        ),
        (
            "a request that another purchase has claimed is written down",
            "if claim is not None and request_id and not await self._ledger.claim(claim, request_id, utc_now()):",
            "if False:",
            f"{_DEFENCES}_a_request_of_another_purchase_is_not_written_down",
        ),
        (
            "sends: a try of which the ledger knows nothing is not looked for",
            "        if not last.ended:\n",
            "        if False:\n",
            f"{_SENDS}_a_restored_ledger_is_searched_and_not_sent",
        ),
        (
            "sends: a try that may have been sent is ended",
            "if send is not None and send.sent_by == bought.ended_by:",
            "if send is not None:",
            f"{_SENDS}_a_restored_ledger_is_searched_and_not_sent",
        ),
        (
            "sends: an end that only the ledger knows stops the purchase",
            "if send is not None and send.sent_by == bought.ended_by:",
            "if False:",
            f"{_SENDS}_an_end_that_was_not_written_is_known_to_the_ledger",
        ),
        (
            "sends: a refused try has no end",
            "                await sending.end_refused()\n",
            "                pass\n",
            f"{_SENDS}_an_old_number_stops_nothing_that_was_refused_since",
        ),
        (
            "sends: an abandoned try is not closed",
            "            await self._close(move.key)\n",
            "            pass\n",
            f"{_SENDS}_a_try_that_another_process_has_closed_is_not_sent",
        ),
        (
            "an adoption that failed is gone on with",
            "if not await self._ledger.adopt(adoption.key, purchase, adoption.job_id, adoption.tenant):",
            "if await self._ledger.adopt(adoption.key, purchase, adoption.job_id, adoption.tenant) is None:",
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
            f"{_PURCHASES}_a_crd_without_the_purchases_name_stops_the_payment",
        ),
        (
            "a failed compare-and-set is not told",
            "        _log_conflict(move, kept)\n\n",
            "        pass\n\n",
            f"{_PURCHASES}_a_compare_and_set_that_fails_is_an_error_that_shows_both_states",
        ),
        (
            "an unrecorded Job is taken for ours",
            "if recorded is not None and recorded.uid == uid:",
            "if True:",
            "operator/worker_api/test_worker_jobs.py::test_a_job_that_a_tenant_prepared_is_replaced",
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
        "decide/payment",
        (
            "was_rewound: a request id in the status is no evidence",
            "if run.request_id is not None:\n        return True\n    if same_attempt",
            "if same_attempt",
            f"{_DECIDE}_what_was_submitted_is_not_paid_again_where_the_ledger_has_lost_it",
        ),
        (
            "was_rewound: a search in the status is no evidence",
            "if same_attempt and last.reason in _SEARCH_REASONS and not",
            "if False and not",
            f"{_DEFENCES}_a_status_that_was_searching_is_evidence_of_a_purchase",
        ),
        (
            "was_rewound: any planned purchase was withdrawn",
            "return purchase.sent_at is not None and purchase.sent_at.replace(microsecond=0) == run.sent_at",
            "return True",
            f"{_DEFENCES}_a_search_in_the_status_is_over_only_where_that_very_send_was_taken_back",
        ),
        (
            "was_rewound: a purchase that only the status names is no evidence",
            "return run.purchase_id is not None\n",
            "return False\n",
            f"{_PURCHASES}_stores_rewound_to_before_the_purchase_pay_nothing_again",
        ),
        (
            "was_rewound: another purchase in the status is no evidence",
            "if run.purchase_id not in (None, purchase.purchase_id):",
            "if False:",
            f"{_DEFENCES}_a_status_that_names_another_purchase_is_evidence_of_it",
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
            "another = case.run.paid_attempt < case.spec.paid_attempts",
            "another = case.run.paid_attempt <= case.spec.paid_attempts",
            f"{_DECIDE}_paid_attempts",
        ),
        (
            "an input that was refused is bought again",
            "if another and not purchase.permanent:",
            "if another:",
            f"{_REFUSALS}_a_refused_input_is_not_bought_again",
        ),
        (
            "the next attempt has the name of the last",
            '            "purchase_id": None,\n            "sent_at": None,',
            '            "sent_at": None,',
            f"{_PURCHASES}_applied_again_after_a_resubmission_it_goes_on_with_the_second_attempt",
        ),
    ),
    *_of(
        "decide/request_endings",
        (
            "a failure after a wish to cancel is a cancellation",
            "target = PurchaseState.CANCELLED if asked and view.cancelled else PurchaseState.FAILED",
            "target = PurchaseState.CANCELLED if asked else PurchaseState.FAILED",
            "operator/runs/test_cancelling.py::test_a_request_that_is_taken_over_and_fails_by_itself_is_no_cancellation",
        ),
        (
            "one answer gives a paid result up",
            "proven = purchase.missed >= _MISSED - 1 and _is_spaced(purchase, now)",
            "proven = True",
            f"{_UNKNOWN}_when_a_paid_request_is_given_up",
        ),
        (
            "an unknown request is given up while the provider keeps results",
            "return proven and (view.state is RequestState.GONE or not history_searches.is_open(purchase, now))",
            "return proven",
            f"{_UNKNOWN}_when_a_paid_request_is_given_up",
        ),
        (
            "an answer that proves nothing gives a paid request up",
            "return view.state is RequestState.GONE or view.conclusive",
            "return True",
            f"{_UNKNOWN}_when_a_paid_request_is_given_up",
        ),
    ),
    *_of(
        "decide/planning",
        (
            "an edit before the early end of a run is not looked at",
            "return SOON if edited else again",
            "return again",
            f"{_DECIDE}_a_run_that_ends_after_an_edit_is_reconciled_again",
        ),
    ),
    *_of(
        "decide/collect_retries",
        (
            "contentgen.dev/collect goes on with a failed request, and pays for another attempt",
            "if whole or observed.response_kept or has_result(observed.request):",
            "if True:",
            f"{_UNKNOWN}_a_collect_annotation_never_pays_for_a_request_that_failed",
        ),
    ),
    *_of(
        "state/open_places",
        (
            "an unknown request keeps its place",
            "now - purchase.missing_since >= _MISSING:",
            "False:",
            f"{_UNKNOWN}_an_unknown_request_gives_its_place_back_and_keeps_its_budget",
        ),
    ),
    *_of(
        "decide/decision",
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
        "decide/deletion",
        (
            "whoever is deleted cancels",
            "if purchase is not None and (purchase.job_id == resource.ref.uid or _uses_purchase(",
            "if purchase is not None and (True or _uses_purchase(",
            f"{_DEFENCES}_a_deletion_cancels_only_what_the_resource_owns",
        ),
    ),
    *_of(
        "observe",
        (
            "a request that another purchase has claimed is found",
            "if found.request_id is not None and await ledger.is_anothers(purchase, found.request_id):",
            "if False:",
            f"{_DEFENCES}_a_request_of_another_purchase_is_not_found",
        ),
    ),
    *_of(
        "stores/worker_jobs",
        (
            "a stale record is believed",
            "if known is not None and job_uid in (None, known.uid):",
            "if known is not None:",
            "operator/worker_api/test_worker_jobs.py::test_two_operators_leave_the_job_of_the_other",
        ),
    ),
    *_of(
        "worker_api/authentication",
        (
            "the worker of another operator's Job is refused",
            "newest(job.owner.uid, job.uid)",
            "newest(job.owner.uid)",
            "operator/worker_api/test_worker_api.py::test_the_worker_of_another_operators_job_gets_its_order",
        ),
    ),
    *_of(
        "worker_api/work_orders",
        (
            "a response is read by who does not own the purchase",
            "if purchase.job_id != assignment.resource.ref.uid:",
            "if False:",
            "operator/worker_api/test_worker_api.py::test_the_response_of_a_purchase_with_another_owner_is_not_signed",
        ),
    ),
    *_of(
        "decide/status",
        (
            "an estimate is shown as the cost",
            '"actual": format_dollars(run.known) if run.exact else "",',
            '"actual": format_dollars(run.known + run.estimated),',
            f"{_DECIDE}_the_cost_of_a_finished_run_is_the_providers_and_never_the_estimate",
        ),
    ),
    *_of(
        "state/costs",
        (
            "a request that nobody follows costs its estimate",
            "if purchase.state in _OPEN and found.source is CostSource.ESTIMATE:",
            "if False:",
            "operator/payment/test_costs.py::test_a_request_that_nobody_follows_any_more_costs_what_nobody_knows",
        ),
    ),
    *_of(
        "state/provider_requests",
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
            "an odd error in a status makes a delivered result a failure",
            "            if reply.status_code in _OK:\n",
            "            if reply.status_code in _OK and not error:\n",
            f"{_PROVIDERS}_fal_polls",
        ),
        (
            "a result that is gone is a failure",
            "if not error and _is_gone(reply):",
            "if False:",
            f"{_PROVIDERS}_a_result_that_is_gone_is_taken_from_the_history",
        ),
    ),
    *_of(
        "providers/sending",
        (
            "what is raised before the first byte stops nothing",
            "        except Exception as error:\n            raise SendStopped(error) from error\n",
            "        except Exception:\n            pass\n",
            f"{_PROVIDERS}_what_is_raised_before_the_request_stops_it",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "tenants: a forged status takes the scope off another run",
            "return await self._with_scope(await self._projection(resource, document))\n\n    async def _projection",
            "return await self._projection(await self._with_scope(resource), document)\n\n    async def _projection",
            f"{_TENANCY}_a_forged_status_does_not_take_the_scope_off_another_run",
        ),
        (
            "tenants: a run that an older release has bought looks under another key",
            "return mine or tenant.has_bought(variant.scope, purchase.created_at)",
            "return mine",
            f"{_TENANCY}_of_a_mixed_namespace_each_purchase_is_its_own_or_an_earlier_ones",
        ),
        (
            "tenants: a run that is under way at a mapping looks under another key",
            "chosen = own[0] if own else most_advanced(bought)",
            "chosen = bought[0] if bought else None",
            f"{_TAKEOVER}_what_is_under_way_at_a_forced_mapping_goes_on",
        ),
        (
            "tenants: what was bought before a mapping is bought again",
            "sorted({*tenant.other_scopes, *((UNSCOPED,) if tenant.scope else ())} - {tenant.scope})",
            "sorted({*((UNSCOPED,) if tenant.scope else ())} - {tenant.scope})",
            f"{_TAKEOVER}_what_was_bought_before_a_mapping_is_adopted_after_it",
        ),
        (
            "tenants: what was adopted under a lost mapping is bought again",
            "return mine or tenant.has_bought",
            "return tenant.has_bought",
            f"{_TAKEOVER}_a_mapping_that_a_restore_has_lost_buys_nothing_that_was_adopted_again",
        ),
        (
            "run documents: a run that MongoDB lacks is passed over",
            "if with_bounded_numbers(run).number > document.number:",
            "if False:",
            f"{_RUNS}_a_restored_mongodb_pays_nothing_and_the_message_says_what_helps",
        ),
        (
            "run documents: a forged hash where there is none",
            "if doubtful_hash and purchase is None:",
            "if False:",
            "operator/tenancy/test_ownership.py::test_a_forged_hash_buys_nothing_under_another_key",
        ),
        (
            "run documents: a forged user where there is none",
            "if not await self._user_is_known(resource, user, purchase):",
            "if False:",
            "operator/tenancy/test_ownership.py::test_a_forged_user_in_the_frozen_spec_is_not_acted_for",
        ),
        (
            "run documents: forged files of a version",
            "if version.job_id in (None, *jobs) and all(owns(owner_of_all, each.key) for each in version.files):",
            "if True:",
            "operator/tenancy/test_ownership.py::test_a_deletion_leaves_what_a_forged_status_names",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "paid although the API server's status does not name the purchase",
            "named = _named_purchase(resource.status) == _named_purchase(status)",
            "named = True",
            f"{_PURCHASES}_a_crd_without_the_purchases_name_stops_the_payment",
        ),
    ),
    *_of(
        "state/run_document",
        (
            "run documents: the status' run is projected",
            "run = projected_run(document.run, status.run) if document.run is not None else None",
            "run = told.run",
            f"{_RUNS}_a_forged_status_neither_pays_twice_nor_stops_a_resource_for_ever",
        ),
        (
            "run documents: the status' facts are projected",
            "if _canonical(values[name]) == _canonical(getattr(observed, name)):",
            "if True:",
            f"{_RUNS}_facts_that_somebody_else_wrote_skip_no_preparation",
        ),
    ),
    *_of(
        "decide/disagreement",
        (
            "run documents: a claim holds no payment back",
            "if document is None or document.claim is None or case.resource.payments_allowed:",
            "if True:",
            f"{_RUNS}_a_restored_mongodb_pays_nothing_and_the_message_says_what_helps",
        ),
    ),
    *_of(
        "state/purchases",
        (
            "tenants: the key without its scope",
            'return f"{scoped(self.namespace, self.scope)}/',
            'return f"{self.namespace}/',
            f"{_TENANCY}_a_recreated_namespace_adopts_nothing",
        ),
        (
            "tenants: the scope of a stored key is a part of the namespace's name",
            "namespace, scope = unscoped(place)",
            'namespace, scope = place, ""',
            f"{_TENANCY}_an_orphan_of_a_recreated_namespace_is_kept_for_the_same_resource",
        ),
    ),
    *_of(
        "background/orphans",
        (
            "tenants: a resource of the present namespace is taken for the earlier one's",
            "if not tenant.has_bought(key.scope, purchase.created_at):",
            "if False:",
            f"{_TENANCY}_an_orphan_of_the_earlier_namespace_stays_one_whatever_the_present_one_has",
        ),
        (
            "tenants: another cluster's purchases are followed",
            "if not self._followed.includes(purchase.cluster_uid, key.namespace):\n            return  # another",
            "if False:\n            return  # another",
            f"{_TENANCY}_a_cluster_that_is_not_confirmed_leaves_requests_of_the_others_alone",
        ),
        (
            "tenants: another cluster's responses are deleted",
            "if self._followed.includes(purchase.cluster_uid, key.namespace):",
            "if True:",
            f"{_TENANCY}_a_cluster_that_is_not_confirmed_deletes_no_response_of_the_others",
        ),
    ),
    *_of(
        "stores/ledger",
        (
            "tenants: an adopted purchase stays the former cluster's",
            "if tenant is not None and tenant.cluster:",
            "if False:",
            f"{_TENANCY}_gitops_into_a_confirmed_cluster_adopts_everything_and_pays_nothing",
        ),
        (
            "tenants: outputs under a name are those of all its namespaces",
            "mine = [_under(purchase_id_prefix(namespace, kind, name, each)) for each in tenant.scopes]",
            "mine = [_under(purchase_id_prefix(namespace, kind, name))]",
            f"{_TENANCY}_files_of_the_earlier_namespace_are_not_those_of_the_name",
        ),
    ),
    *_of(
        "decide/payment",
        (
            "tenants: a tenant that is not known adopts",
            "if resource.tenant.block_reason:",
            "if False:",
            f"{_TENANCY}_without_the_right_to_read_namespaces_nothing_is_paid_or_adopted",
        ),
    ),
    *_of(
        "decide/decision",
        (
            "tenants: a cluster that is not confirmed pays",
            "return _tenant_unconfirmed(case) if case.resource.tenant.block_reason else _plan_for_run(case)",
            "return _plan_for_run(case)",
            f"{_TENANCY}_a_rebuilt_cluster_pays_and_adopts_nothing_until_it_is_confirmed",
        ),
    ),
    *_of(
        "act",
        (
            "tenants: the marker of a re-created namespace is not read after a rewind",
            "if uid and key.scope != uid:",
            "if False:",
            f"{_TAKEOVER}_the_bucket_remembers_what_a_recreated_namespace_has_bought",
        ),
        (
            "tenants: the marker of a mapped namespace is not read after a rewind",
            "if uid and key.scope:",
            "if False:",
            "operator/tenancy/test_attack_scopes.py::test_what_was_bought_under_a_mapping_that_a_restore_has_lost_is_not_bought_again",
        ),
        (
            "tenants: the marker of an earlier namespace stops the payments of a later one",
            "self._storage.marker(str(unscoped), uid)",
            "self._storage.marker(str(unscoped))",
            f"{_TENANCY}_a_recreated_namespace_adopts_nothing",
        ),
    ),
    *_of(
        "decide/deletion",
        (
            "tenants: a deletion cancels what another cluster may adopt",
            "if resource.tenant.block_reason:  # another cluster",
            "if False:  # another cluster",
            "operator/tenancy/test_attack_takeover.py::test_clearing_up_the_earlier_cluster_spares_what_was_taken_over",
        ),
        (
            "tenants: a status of a backup writes a purchase of another cluster",
            "if resource.tenant.block_reason:  # another cluster",
            "if False:  # another cluster",
            f"{_TAKEOVER}_a_status_of_a_backup_writes_no_purchase_for_a_cluster_that_is_not_confirmed",
        ),
    ),
    *_of(
        "sending",
        (
            "sent without the compare-and-set",
            '            raise Conflict(f"purchase {key} is sent by somebody else, or is not to be sent")',
            '            sent_by = "anybody"',
            f"{_SENDS}_nothing_is_sent_that_the_ledger_does_not_have_as_sending",
        ),
        (
            "sends: a request is sent without its object",
            "            await self._sends.create(key, send)\n            self._require(",
            "            self._require(",
            f"{_SENDS}_a_try_has_its_object_before_the_post",
        ),
        (
            "sends: what fails before the first byte is searched for",
            "            await self._withdraw(send)\n",
            "",
            f"{_SENDS}_what_fails_before_the_first_byte_leaves_it_planned",
        ),
        (
            "sends: a request whose hook was not called is unsent",
            "        finally:\n            await self._sends.create(key, send)\n",
            "        finally:\n            pass\n",
            f"{_SENDS}_a_post_whose_hook_was_not_called_is_not_sent_again",
        ),
    ),
    *_of(
        "stores/sends",
        (
            "sends: the object of another process is taken for the own one",
            "        if not created and await self.read(key, send.number) != send:\n",
            "        if False:\n",
            f"{_SENDS}_the_object_of_another_process_is_neither_used_nor_ended",
        ),
        (
            "sends: an object whose reply was lost is not read",
            "            if await self.read(key, send.number) != send:\n                raise\n            return\n",
            "            raise\n",
            f"{_SENDS}_an_object_whose_reply_was_lost_is_written",
        ),
        (
            "sends: another process's try is ended",
            "if not await self.close(key, send) and await self.read(key, send.number) == send:",
            "if not await self.close(key, send):",
            f"{_SENDS}_the_object_of_another_process_is_neither_used_nor_ended",
        ),
    ),
    *_of(
        "stores/ledger",
        (
            "intend: a replanned purchase is not compared",
            "        return self._collection.update_one(same, change).modified_count == 1\n",
            '        return self._collection.update_one({"_id": same["_id"]}, change).modified_count == 1\n',
            f"{_LEDGER}_what_another_process_sends_in_between_stays_sent",
        ),
        (
            "note_sent: the step is not compared",
            '        where |= {"$or": [{"step": _PLANNED}, repeated]}\n',
            "",
            f"{_LEDGER}_what_another_process_sends_in_between_stays_sent",
        ),
        (
            "lost: an unpaid purchase is a version's",
            "if not (each.unpaid and each.purchase_id in paid)}",
            "}",
            f"{_LOST}_a_restored_ledger_that_lacks_a_version_pays_nothing",
        ),
    ),
    *_of(
        "stores/status_verification",
        (
            "lost purchases are not looked for",
            "lost = await self._ledger.lost(named.known, named.paid) if named.known else ()",
            "lost = ()",
            f"{_LOST}_a_restored_ledger_that_lacks_a_version_pays_nothing",
        ),
    ),
    *_of(
        "stores/s3",
        (
            "a store that overwrites is paid with",
            "        if created[-1]:\n",
            "        if False:\n",
            "operator/process/test_storage.py::test_nothing_is_paid_where_an_object_can_be_created_twice",
        ),
    ),
    Mutant(
        "restore: the later try does not count",
        "operator/contentgen_contract/records/ledger.py",
        "    return _position(given) > _position(stored)\n",
        '    return given["changedAt"] > stored["changedAt"]\n',
        f"{_BACKUP}_the_later_evidence_of_a_purchase_counts",
    ),
    Mutant(
        "restore: another purchase under the key is dropped",
        "operator/contentgen_contract/records/ledger.py",
        "    if _id(stored) != _id(given):\n",
        "    if False:\n",
        f"{_BACKUP}_two_purchases_of_the_same_are_kept_and_nothing_is_paid",
    ),
    Mutant(
        "restore: the step is not compared",
        "operator/contentgen_gateway/migration/backup.py",
        '"_id", "state", "step", "changedAt",',
        '"_id", "state", "changedAt",',
        f"{_BACKUP}_a_restore_replaces_only_what_it_has_read",
    ),
    Mutant(
        "tenants: a deletion takes files that a purchase under another scope lists",
        "operator/contentgen_operator/stores/ledger.py",
        '_under_any_scope(bought_under) | {"jobId": {"$ne": job_id}',
        '_under(bought_under) | {"jobId": {"$ne": job_id}',
        f"tests/unit/{_TAKEOVER}_a_deletion_keeps_files_that_a_purchase_under_another_scope_lists",
    ),
    Mutant(
        "tenants: files that were adopted under another scope are not shown",
        "operator/contentgen_gateway/stores/verification.py",
        'scopes = record.get("scopes") or [record.get("tenant")]',
        'scopes = [record.get("tenant")]',
        f"tests/unit/{_SIGHT}_files_that_were_adopted_under_another_scope_of_the_tenant_are_shown",
    ),
    Mutant(
        "tenants: a namespace that was taken over pays and adopts",
        "operator/contentgen_runtime/tenancy.py",
        'taken_by, uid, scope = entry.get("takenBy"),',
        "taken_by, uid, scope = None,",
        f"tests/unit/{_TAKEOVER}_after_a_takeover_the_earlier_cluster_leaves_everything_alone",
    ),
    Mutant(
        "tenants: orphans of a namespace that was taken over are followed in both clusters",
        "operator/contentgen_runtime/tenancy.py",
        "(cluster in self.clusters and namespace not in self.lost)",
        "(cluster in self.clusters)",
        f"tests/unit/{_TAKEOVER}_after_a_takeover_orphans_are_the_later_clusters",
    ),
    Mutant(
        "tenants: orphans of a namespace that was taken over are followed in neither cluster",
        "operator/contentgen_runtime/tenancy.py",
        "return (cluster, namespace) in self.taken or ",
        "return ",
        f"tests/unit/{_TAKEOVER}_after_a_takeover_orphans_are_the_later_clusters",
    ),
    Mutant(
        "tenants: two clusters bind one scope",
        "operator/contentgen_runtime/tenancy.py",
        'if taken_by := kept.get("takenBy") or next(iter(holders), None):',
        "if taken_by := None:",
        f"tests/unit/{_TAKEOVER}_of_one_scope_that_two_clusters_bind_at_once_neither_pays",
    ),
    Mutant(
        "tenants: a second cluster that was confirmed afresh has the first one's purchases",
        "operator/contentgen_runtime/tenancy.py",
        'if confirmed["confirmed"] == CONFIRMED_FRESH:',
        "if False:",
        f"tests/unit/{_TAKEOVER}_a_second_cluster_can_go_on_beside_the_first",
    ),
    Mutant(
        "tenants: a takeover from a cluster that is at work",
        "operator/contentgen_gateway/migration/namespaces.py",
        "since = self._clock() - _ALIVE",
        "since = self._clock() + _ALIVE",
        f"tests/unit/{_TAKEOVER}_a_takeover_from_a_cluster_that_is_alive_is_refused",
    ),
    Mutant(
        "tenants: a mapping leaves the scope with another cluster's namespace as well",
        "operator/contentgen_gateway/migration/namespaces.py",
        "        for each in holders:\n            self._mark(each, cluster)",
        "        for each in holders:\n            pass",
        f"tests/unit/{_TAKEOVER}_a_mapping_to_a_scope_that_is_in_use_elsewhere_is_refused",
    ),
    Mutant(
        "tenants: lists of a mapped namespace lack what it made before",
        "operator/contentgen_gateway/stores/queries.py",
        "if tenants.get(name, _UNSCOPED).scopes != _UNSCOPED.scopes]",
        "if tenants.get(name, _UNSCOPED).scope]",
        f"tests/unit/{_SIGHT}_one_function_builds_the_filter_of_namespaces",
    ),
    Mutant(
        "tenants: a binding is not compared",
        "operator/contentgen_runtime/tenancy.py",
        'where = {"_id": known["_id"], "revision": known["revision"]}',
        'where = {"_id": known["_id"]}',
        f"tests/unit/{_TENANCY}_a_stale_uid_does_not_bind_the_namespace_again",
    ),
    Mutant(
        "tenants: a restored ledger belongs to the cluster that it is restored into",
        "operator/contentgen_gateway/migration/backup.py",
        'return given if stored is None or given["_id"] == FIRST else None',
        "return given if stored is None else None",
        f"tests/unit/{_TENANCY}_a_backup_restored_into_a_new_cluster_waits_to_be_confirmed",
    ),
    Mutant(
        "tenants: lists hold the earlier namespace's records",
        "operator/contentgen_gateway/stores/queries.py",
        "return either + [tenants[name].filter(name) for name in scoped]",
        'return either + [{"namespace": name} for name in scoped]',
        f"tests/unit/{_SIGHT}_lists_hold_records_of_the_present_namespace_only",
    ),
    Mutant(
        "tenants: a record of the earlier namespace needs the right to the present one",
        "operator/contentgen_gateway/auth/tenants.py",
        "return namespace if (await self.of(namespace)).owns(record) else EVERYWHERE",
        "return namespace",
        f"tests/unit/{_SIGHT}_a_record_of_the_earlier_namespace_looks_like_one_that_is_missing",
    ),
    Mutant(
        "tenants: a share outlives the namespace that it names",
        "operator/contentgen_gateway/auth/visibility.py",
        "return [each for each in given if all(tenants[name].existed_at(each.shared_at) for name in each.places)]",
        "return given",
        f"tests/unit/{_SIGHT}_shares_with_the_earlier_namespace_end",
    ),
)


def verdict(mutant: Mutant) -> str:
    """Run the mutant's test in a copy of the tree. Raises RuntimeError where there is no verdict."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        _copy(tree)
        if not mutant.file.startswith(_COPIED):
            raise ValueError(f"{mutant.name}: {mutant.file} is a link to the working tree's")
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
    parser.add_argument("--policies", action="store_true", help="those of the policies, of which `make acceptance` is")
    parser.add_argument("--sample", action="store_true", help="one cheap mutant of each policy")
    given = parser.parse_args()
    sample = [each for each in OF_POLICIES if each.name in SAMPLE]
    among = sample if given.sample else OF_POLICIES if given.policies else MUTANTS
    chosen = [each for each in among if given.only in each.name]
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
