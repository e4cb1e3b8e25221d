"""Input of one decision, and the state of a run from which its status is built, as frozen values."""

from datetime import datetime

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Phase, Reason, Stage, Step
from contentgen_contract.records import keys
from contentgen_contract.resources.models import TRANSCRIBER, model_of
from contentgen_contract.resources.prices import (
    PRICES,
    SPEECH_MODELS,
    Price,
    amount,
    estimate,
    speech_prices,
    unit_rate,
    upper_bound,
)
from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.resources.spec import Spec, TranscriptionSpec
from contentgen_contract.resources.status import RunStatus
from contentgen_contract.worker.orders import Limits
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.state.runs import asset_user, collects_again, current_run, ended, frozen_spec, purchase_key


class DecisionSettings(Value):
    """Settings that decisions depend on."""

    bucket: str = ""
    sources: tuple[SourceGrant, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    poll_seconds: float = 5
    adoption_seconds: int = 7200
    stage_attempts: int = 3
    provider_seconds: int = 86400
    deletion_seconds: int = 25
    recording_seconds: float = Limits().duration_seconds
    providers: Providers = PROVIDERS
    prices: dict[str, Price] = PRICES  # the built-in table, overridden by the administrator's prices
    own_prices: frozenset[str] = frozenset()  # models with an administrator's price
    unreachable_for: frozenset[str] = frozenset()  # providers that cannot fetch files from the bucket
    speech_models: tuple[str, ...] = SPEECH_MODELS  # of AssemblyAI, the preferred one first
    approval_required: bool = False  # of every run
    models_allowed: tuple[str, ...] = ()  # empty: those of the catalogue
    buying_paused: bool = False  # an administrator lets nothing be bought


class DecisionInput(Value):
    """Input of one decision: built once per reconcile (`decision_input`), completed by what was observed."""

    resource: Resource
    run: RunStatus
    spec: Spec  # the run's frozen spec
    over: bool  # the run has ended, and nothing else is asked for
    collects_again: bool  # a person asks for another try of the collect stage of a run that is over
    observed: Observation = Observation()
    now: datetime
    settings: DecisionSettings

    def observing(self, observed: Observation) -> "DecisionInput":
        """The same input with this observation."""
        return self.model_copy(update={"observed": observed})

    @property
    def kind(self) -> Kind:
        """Kind of the resource."""
        return self.resource.ref.kind

    @property
    def provider(self) -> str:
        """Name of the kind's paid provider."""
        return self.settings.providers.of_kind(self.kind)

    @property
    def key(self) -> PurchaseKey:
        """Key of the run's purchase in the ledger."""
        return purchase_key(self.resource, self.run)

    @property
    def cancelled(self) -> bool:
        """True if the cancel annotation names this run; it stays on the resource and does not cancel the next run."""
        return self.resource.cancel == str(self.run.number)

    @property
    def stage(self) -> Stage:
        """Stage of the run's next or current Job."""
        purchase = self.observed.purchase
        return Stage.PREPARE if purchase is None or purchase.unpaid else Stage.COLLECT

    @property
    def provider_seconds(self) -> float:
        """Expected duration at the provider in seconds, by the measured rate per unit of work or a default."""
        seconds = kinds.duration_seconds(self.run)
        rate = self.observed.seconds_per_unit
        if rate is not None:
            return rate * kinds.row_of(self.spec).units(self.spec, seconds)
        return kinds.row_of(self.spec).seconds(self.spec, seconds)

    @property
    def price(self) -> Price | None:
        """Unit price: the administrator's, else the provider's, else the built-in one. None: unknown."""
        model = model_of(self.spec)
        given = None if model in self.settings.own_prices else self.observed.price.price
        return given or self.settings.prices.get(model)

    @property
    def estimated_micros(self) -> int | None:
        """Estimated cost in micro-dollars; None if unknown, or unknown before the provider has finished."""
        if self.observed.same is not None:  # an earlier run or resource has paid for the request
            return 0
        seconds = kinds.sound_seconds(self.run)
        # The provider's price may be per a unit, such as GPU seconds, that is only known afterwards.
        for price in (self.price, self.settings.prices.get(model_of(self.spec))):
            if price is not None and (found := estimate(self.spec, price, seconds)) is not None:
                return found
        return None

    @property
    def bound_micros(self) -> int | None:
        """Upper bound of the cost of one paid attempt in micro-dollars, by the current price; None: unknown."""
        listed = self.settings.prices.get(model_of(self.spec))
        bounds = [self._bound_at(price, listed) for price in self._possible_prices]
        if bounds == [None]:
            return self._bound_without_units(listed)
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None

    def _bound_without_units(self, listed: Price | None) -> int | None:
        """Bound by the table if the number of the provider's units, such as "trainings", is known only afterwards: one
        unit at least.
        """
        bound, price = self._bound_at(listed, listed), self.price
        return bound if bound is None or price is None else max(bound, amount(unit_rate(self.spec, price), 1))

    @property
    def _possible_prices(self) -> tuple[Price | None, ...]:
        """Prices of the models that the provider may use: AssemblyAI chooses one of the speech models."""
        if isinstance(self.spec, TranscriptionSpec) and TRANSCRIBER not in self.settings.own_prices:
            return speech_prices(self.settings.prices, self.settings.speech_models)
        return (self.price,)

    def _bound_at(self, price: Price | None, listed: Price | None) -> int | None:
        if price is None:
            return None
        seconds = kinds.sound_seconds(self.run)
        if listed is None or listed.unit is not price.unit:
            return upper_bound(self.spec, price, 0, seconds)
        return upper_bound(self.spec, price, listed.minimum, seconds, maximum_micros=listed.maximum_micros)

    @property
    def prefix(self) -> str:
        """Prefix of the stage's files in the bucket."""
        user = asset_user(self.resource, self.spec)
        return keys.prefix(self.kind, self.stage, user, self.resource.ref.uid, self.run.version)


def decision_input(resource: Resource, now: datetime, settings: DecisionSettings) -> DecisionInput:
    """The input of a decision about a resource that is not being deleted, before anything is observed.

    Raises pydantic.ValidationError for a wrong spec.
    """
    run = current_run(resource, now)
    spec = frozen_spec(resource, run)
    over = run == resource.status.run and ended(resource)
    again = over and collects_again(resource)
    return DecisionInput(
        resource=resource, run=run, spec=spec, over=over, collects_again=again, now=now, settings=settings
    )


class RunState(Value):
    """State of a run, from which its status is built."""

    phase: Phase
    reason: Reason
    message: str
    step: Step = Step.WAITING
    fraction: float = 0
    remaining_seconds: float | None = None
    after_seconds: float = 0  # duration of the later steps, added to a worker's estimate of its own stage
    resubmit_token: str | None = None  # that allows another payment; None: no purchase waits for that
