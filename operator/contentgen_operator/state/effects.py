"""Effects: the writes of a plan to purchases, and to the stores of features, as frozen values."""

from enum import IntEnum, auto
from typing import ClassVar

from contentgen_contract.base import Value


class EffectOrder(IntEnum):
    """Order of the effects of one plan. The process may crash after each: the next reconcile goes on from there."""

    ADOPT = auto()
    POINT = auto()
    STORE_RESPONSE = auto()
    CANCEL = auto()
    CLAIM_PAID = auto()  # before the ledger has the purchase: what may be paid counts at every moment
    MOVE = auto()
    INSERT_LOST = auto()
    RESTORE = auto()
    RELEASE_CLAIMS = auto()
    CLAIM = auto()
    RESERVE = auto()
    PAY = auto()


class Effect(Value):
    """One write of a plan."""

    ORDER: ClassVar[EffectOrder]

    @property
    def order(self) -> EffectOrder:
        """Place among the effects of the plan."""
        return self.ORDER
