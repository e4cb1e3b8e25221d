"""Consent to requests with a person's keys: the steps, their prices, and the person's confirmation. Sends nothing."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from contentgen_real.place import ASSEMBLYAI, BUCKET, CLUSTER, FAL, FAL_ADMIN, ProviderPlace
from contentgen_real.plan import LIMIT, PlannedStep, bound

SWITCH, CONFIRM = "REAL_API_TESTS", "REAL_API_CONFIRM"


class NotAgreed(Exception):
    """The person did not agree, so nothing is sent; the message contains the cause and a remedy."""


def agreed(
    place: ProviderPlace,
    plan: tuple[PlannedStep, ...],
    spent: Decimal,
    say: Callable[[str], None],
    ask: Callable[[str], str] | None,
) -> None:
    """Print all steps with their prices and ask for confirmation. `spent` is the sum of the bounds of earlier runs;
    `ask` is None if there is no terminal. Raises NotAgreed.
    """
    environment = place.environment
    require_switch(environment)
    where = f" (at {', '.join(place.stand_ins)}: stand-ins)" if place.stand_ins else ""
    say(f"Requests with your keys to the real services{where}; prices are upper bounds:\n")
    for planned_step in plan:
        say(_line(planned_step))
    if all(planned_step.skipped for planned_step in plan):
        raise NotAgreed("\nNothing can run.\n\n" + HOW)
    say(f"\nTogether at most {dollars(bound(plan))} USD; earlier runs: at most {dollars(spent)} USD.")
    if environment.get(CONFIRM) == "yes":
        return
    if ask is None:
        raise NotAgreed(f"Nobody can be asked here, so nothing was sent. {CONFIRM}=yes agrees beforehand.")
    if ask("Type yes to send them: ").strip().lower() != "yes":
        raise NotAgreed("Not agreed to, so nothing was sent.")


def require_switch(environment: Mapping[str, str]) -> None:
    """Raises NotAgreed, with how it works, if the person has not asked for it."""
    if environment.get(SWITCH) != "true":
        raise NotAgreed(HOW)


def dollars(usd: Decimal) -> str:
    """Amount in US dollars with four digits after the point."""
    return f"{usd:.4f}"


def _line(planned_step: PlannedStep) -> str:
    step = planned_step.step
    verdict = f"\n{'':<37}skipped: {planned_step.skipped}" if planned_step.skipped else ""
    return f"  {step.name:<21}{dollars(step.usd):>8} USD  {step.shows}{verdict}"


HOW = f"""make test-real compares the real fal, AssemblyAI, S3 and your cluster with the facts, with your keys. Set:

  {SWITCH}=true        that you want it
  {FAL}                    prices, two pictures, odd requests
  {ASSEMBLYAI}         transcripts of ten seconds
  {", ".join(BUCKET)}   requests of a bucket; also S3_REGION, S3_ENDPOINT
  {CLUSTER}               a context of kubectl; also KUBE_NAMESPACE
  {FAL_ADMIN}              billing events, an hour later: ARGS=--later
  {LIMIT}                    most that all runs together may cost, in US dollars; 1 without it

It prints what that costs and asks before anything is sent ({CONFIRM}=yes answers beforehand).
docs/test-real.md explains each step."""
