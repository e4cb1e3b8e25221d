"""Payments blocked while MongoDB lacks a run that a status names (`run_document.UnrecordedRun`). Pure."""

from contentgen_contract.advice import guidance
from contentgen_contract.names import Phase, Reason
from contentgen_operator.plans.planning import new_plan
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.run_document import UnrecordedRun

_WAIT_SECONDS = 60.0  # until the run document is read again


def wait_for_stores(case: DecisionInput) -> Plan | None:
    """The plan of a run that waits because the stores disagree; None: it may pay."""
    document = case.resource.document
    if document is None or document.unrecorded is None or case.resource.payments_allowed:
        return None
    named = _named_text(document.unrecorded)
    message = guidance.join_message(
        f"the status names {named}, which MongoDB lacks: it was restored from an older backup, "
        "an installation with another MongoDB began the run, or somebody else wrote the status, so nothing is paid. ",
        "Restore the newest backup of MongoDB, and this goes on; or, where the provider's dashboard shows that nothing "
        f"was paid since, {guidance.resubmit_advice(document.token or '')}",
    )
    run_state = RunState(
        phase=Phase.SUBMISSION_UNKNOWN,
        reason=Reason.STORES_DISAGREE,
        message=message,
        resubmit_token=document.token,
    )
    return new_plan(case, run_state, again=_WAIT_SECONDS)


def _named_text(unrecorded: UnrecordedRun) -> str:
    if unrecorded.purchases_only:
        return f"purchase {', '.join(unrecorded.purchases)}"
    named = [f"run {unrecorded.number}", f"paid attempt {unrecorded.paid_attempt}", f"version {unrecorded.version}"]
    named += [f"purchase {unrecorded.purchase_id}"] if unrecorded.purchase_id else []
    named += [f"request {unrecorded.request_id}"] if unrecorded.request_id else []
    return ", ".join(named)
