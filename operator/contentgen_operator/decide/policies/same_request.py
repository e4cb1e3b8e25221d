"""Same request: a run whose provider request was bought before, under another spelling, goes on with that purchase.

The run's key becomes the purchase's (`RunStatus.same_as`), so that each state of the purchase is handled as for the
same key. Pure.
"""

from collections.abc import Iterable

from contentgen_contract.names import RERUN_ADVICE, Phase, Reason, Step
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_contract.resources.spec_checks import first_problem
from contentgen_contract.resources.status import SameRequest
from contentgen_operator.plans.planning import SOON, new_plan, submitting, withdraw_planned
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan, Pointer
from contentgen_operator.state.purchases import Purchase, PurchaseState, SamePurchase, SendState, most_useful
from contentgen_operator.state.runs import is_bought_before, own_key

_MOST_KEYS = 1000  # further keys of one purchase; a run under another one is found by its content, after its free stage


def is_searched(case: DecisionInput, purchase: Purchase | None) -> bool:
    """True if equal requests are searched: nothing was bought under the run's own key."""
    unpaid = purchase is None or purchase.unpaid
    own = case.run.same_as is None and case.run.paid_attempt == 1
    return unpaid and own and case.run.job is None and not case.resource.tenant.block_reason


def may_be_anothers(case: DecisionInput, purchase: Purchase) -> bool:
    """True if a purchase under the run's own key may stand for that of an equal request, which the ledger lacked when a
    resource that waited for it was deleted.
    """
    searched = purchase.state is PurchaseState.INTENT and purchase.send_state is SendState.SENDING
    own = case.run.same_as is None and case.run.paid_attempt == 1
    return searched and own and not case.resource.tenant.block_reason


def chosen(case: DecisionInput, found: Iterable[SamePurchase]) -> SamePurchase | None:
    """The purchase to go on with; None: there is none, or it is estimated what another attempt after it costs."""
    same = most_useful(found)
    if same is not None and case.resource.estimates and same.pays_again(case.spec.paid_attempts):
        return None
    return same


def adopt(case: DecisionInput) -> Plan | None:
    """The plan of a run whose request was bought before: it goes on under that key, or a dry run ends at $0."""
    same = case.observed.same
    if same is None or first_problem(case.spec) is not None:  # a learning rate that is not sent is refused
        return None
    moves, what = withdraw_planned(case), _what(same.purchase)
    if case.resource.estimates:
        message = f"the price of the run is 0.00 USD: {what}; nothing was paid"
        ended = RunState(phase=Phase.COMPLETED, reason=Reason.ESTIMATED, message=message, step=Step.DONE)
        return new_plan(case, ended, moves=moves)
    named = SameRequest(run_hash=same.run_hash, lora_identity=same.lora_identity, purchase_id=same.purchase.purchase_id)
    changes = {
        "same_as": named,
        "paid_attempt": same.attempt,
        "purchase_id": same.purchase.purchase_id,
        "provider_account": same.purchase.account,
        "approval": None,
    }
    run = case.run.model_copy(update=changes)
    return new_plan(case, submitting(case, Reason.SUBMITTING, what), run=run, moves=moves, again=SOON)


def adopt_restored(case: DecisionInput) -> Plan | None:
    """The plan of a run that waited for a lost purchase of an equal request, once the ledger has it again. The run goes
    on with the best purchase of the same, which may be a later one.
    """
    named, own = case.run.purchase_id, case.observed.purchase
    anothers = named is not None and (own is None or own.purchase_id != named)
    return adopt(case) if anothers else None


def pointer(case: DecisionInput, purchase: Purchase | None) -> Pointer | None:
    """The run's own key, to add to the purchase of the same request; None: it is there, or there is none.

    None also for an image with a LoraTraining: the same key is of another request once that is trained again.
    """
    if purchase is None or not is_bought_before(case.run, purchase):
        return None
    if isinstance(case.spec, ImageGenerationSpec) and any(lora.lora_ref for lora in case.spec.loras):
        return None
    also = own_key(case.resource, case.run)
    if str(also) in purchase.also_under or len(purchase.also_under) >= _MOST_KEYS:
        return None
    uid = case.resource.tenant.uid or None
    return Pointer(key=case.key, purchase_id=purchase.purchase_id, also=also, namespace_uid=uid)


def ending(case: DecisionInput, purchase: Purchase, reason: Reason, message: str, used: str = "") -> tuple[Reason, str]:
    """Reason and message of a completed run; `used` says what is used if the same request was bought before."""
    if not is_bought_before(case.run, purchase):
        return reason, message
    return Reason.ADOPTED_SAME_REQUEST, f"{_what(purchase)}; {used or message}, and nothing is paid{_unread(case)}"


def _what(purchase: Purchase) -> str:
    return f"the same request to {purchase.model} was bought before (purchase {purchase.purchase_id})"


def _unread(case: DecisionInput) -> str:
    """Notice of the files that nobody has read."""
    if not isinstance(case.spec, ImageGenerationSpec):
        return ""
    paths = [f"spec.loras[{index}].path" for index, lora in enumerate(case.spec.loras) if lora.path]
    if not paths:
        return ""
    return f"; the file behind {' and '.join(paths)} was not read: if it changed, for a new result, {RERUN_ADVICE}"
