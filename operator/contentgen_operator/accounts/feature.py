"""Provider accounts as a feature. The observer reads the account and its keys, as its price depends on them."""

from contentgen_operator.accounts.gate import hold
from contentgen_operator.feature import Feature

FEATURE = Feature(gates=(hold,))
