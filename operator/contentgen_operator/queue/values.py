"""Turn of a run in a queue, as frozen values."""

from enum import StrEnum

from contentgen_operator.state.observed import FeatureFacts


class Limit(StrEnum):
    """Cause for which a run waits in the queue."""

    OVERALL = "overall"
    PER_NAMESPACE = "perNamespace"
    PROVIDER = "provider"
    CIRCUIT = "circuit"  # the circuit breaker of its endpoint is open
    PREPARATION = "preparation"  # prepare Jobs of all namespaces
    PREPARATION_PER_NAMESPACE = "preparationPerNamespace"
    COLLECT = "collect"  # paid results of the namespace need the room in its quota
    OTHERS = "others"  # other runs come first


class Turn(FeatureFacts):
    """Answer of the queue to a run that asks for a place. A run that has not asked is not held."""

    granted: bool = True
    limit: Limit = Limit.OTHERS  # cause of a wait
    most: int = 0  # places of that limit
    cause: str = ""  # of an open circuit, without text of a provider: another tenant's input may be in it
