"""Payments blocked while MongoDB lacks a run that a status names (`run_document.UnrecordedRun`). Pure."""

from contentgen_contract.advice import remedies
from contentgen_contract.names import Phase, Reason
from contentgen_operator.plans.planning import new_plan
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.run_document import UnrecordedRun

_WAIT_SECONDS = 60.0  # until the run document is read again


def wait_for_stores(case: DecisionInput) -> Plan | None:
    """The plan of a run that waits because the stores disagree; None: it may pay."""
    document = case.resource.document
    if document is None or document.claim is None or case.resource.payments_allowed:
        return None
    message = remedies.join_message(
        f"the status names {_named_text(document.claim)}, which MongoDB lacks: it was restored from an older backup, "
        "an installation with another MongoDB began the run, or somebody else wrote the status, so nothing is paid. ",
        "Restore the newest backup of MongoDB, and this goes on; or, where the provider's dashboard shows that nothing "
        f"was paid since, {remedies.resubmit_advice(document.token or '')}",
    )
    run_state = RunState(
        phase=Phase.SUBMISSION_UNKNOWN,
        reason=Reason.STORES_DISAGREE,
        message=message,
        resubmit_token=document.token,
    )
    return new_plan(case, run_state, again=_WAIT_SECONDS)


def _named_text(claim: UnrecordedRun) -> str:
    if claim.purchases_only:
        return f"purchase {', '.join(claim.purchases)}"
    named = [f"run {claim.number}", f"paid attempt {claim.paid_attempt}", f"version {claim.version}"]
    named += [f"purchase {claim.purchase_id}"] if claim.purchase_id else []
    named += [f"request {claim.request_id}"] if claim.request_id else []
    return ", ".join(named)
