"""Patterns of user input, and the error text of each, for models, CRDs and the gateway."""

USER_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
DECIMAL = r"^[0-9]{1,6}(\.[0-9]{1,8})?$"
DOLLARS = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
AMOUNT = r"^([0-9]{1,15}(\.[0-9]{1,6})?|unknown)$"  # US dollars that an approval covers
SHARE = r"^(0(\.[0-9]{1,8})?|1(\.0{1,8})?)$"
TAG = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$"
_UNSEEN = r"\s\x00-\x20\x7f-\xa0"  # spaces and controls, also where \s are those of ASCII (RE2)
# No @ before the path, and brackets only around an IPv6 address: parsers disagree about the host otherwise.
# The case of a scheme is insignificant (RFC 3986); the models normalize it to lower case.
SOURCE_URL = (
    rf"^([Hh][Tt][Tt][Pp][Ss]?|[Ss]3)://(\[[0-9A-Fa-f:.]+\](:[0-9]+)?|[^{_UNSEEN}/@?#\[\]\\]+)([/?#][^{_UNSEEN}]*)?$"
)
WEB_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[!-.0-?A-~]+(/[!-~]*)?$"  # ASCII, and no @ before the path
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"
SPEECH_MODEL = r"^[a-z0-9][a-z0-9._-]{0,63}$"  # of AssemblyAI
LORA_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
TRIGGER_WORD = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
LANGUAGE = r"^([Aa][Uu][Tt][Oo]|[A-Za-z]{2,3}([_-][A-Za-z]{2})?)$"
OPERATOR_CLASS = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"  # a DNS label
NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"  # a DNS label
ACCOUNT = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"  # of a provider account; a part of a volume's name and of a path
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
JOB_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"  # DNS-1123
UID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"  # no empty segment, no `.` or `..`
REQUEST_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"  # of a provider; one path segment
SHA256 = r"^[0-9a-f]{64}$"
NO_SPEECH = r"(?i)\bno spoken audio\b"  # in AssemblyAI's error, if it should detect the language of such a recording
LORA_IDENTITY = r"^[0-9a-f]{16}$"
RESUBMIT_TOKEN = r"^[0-9a-f]{1,16}$"  # noqa: S105 - no secret: it names a purchase

_NAME = "letters, digits, dots, dashes or underscores, beginning with a letter or digit"
EXPECTATIONS = {
    USER_ID: f"must be up to 63 {_NAME}, such as user-123",
    LORA_NAME: f"must be up to 63 {_NAME}, such as jesse_avatar",
    TRIGGER_WORD: "must be one word of up to 32 letters, digits, dashes or underscores, beginning with a "
    "letter or digit, such as jf",
    DECIMAL: "must be a decimal in quotes without sign or exponent, such as 0.0004",
    DOLLARS: "must be US dollars in quotes with at most six decimals, such as 250.00",
    SHARE: "must be a decimal in quotes from 0 to 1, such as 0.15",
    TAG: "must be up to 63 letters, digits, spaces, dots, dashes or underscores, beginning with a letter or "
    "digit, such as avatar",
    SOURCE_URL: "must start with https://, http:// or s3://, name a host or bucket and have no spaces or "
    "control characters, such as https://example.com/talk.mp4",
    WEB_URL: "must start with https:// or http://, name a host and be ASCII without spaces, "
    "such as https://example.com/a.safetensors",
    OBJECT_NAME: "must be the name of a resource: lower-case letters, digits, dots and dashes, such as avatar",
    MODEL_NAME: "must be an alias such as flux-dev, or a full fal model id such as fal-ai/flux/dev: "
    "lower-case letters, digits, dots, dashes, underscores, and single slashes between the parts",
    LANGUAGE: "must be auto or a language code such as en, en_us or pt",
    OPERATOR_CLASS: "must be up to 63 lower-case letters, digits and dashes, with a letter or digit at both ends, "
    "such as default",
    SHA256: "must be a sha256 in 64 lower-case hexadecimal digits",
}
"""Expectation by pattern; the caller adds the field and the value."""
