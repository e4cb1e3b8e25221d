"""All cases."""

from contentgen_footage.codecs import codecs
from contentgen_footage.lengths import lengths, rates, timestamps

CASES = (*lengths(), *timestamps(), *rates(), *codecs())
