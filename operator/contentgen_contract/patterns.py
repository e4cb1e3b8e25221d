"""What texts from a user look like: the same pattern for the models, and in words for the API server (`crds.py`)."""

USER_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
DECIMAL = r"^[0-9]{1,6}(\.[0-9]{1,8})?$"
SHARE = r"^(0(\.[0-9]{1,8})?|1(\.0{1,8})?)$"
SIGNED_SHARE = r"^-?(0(\.[0-9]{1,8})?|1(\.0{1,8})?)$"
TAG = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$"
# No @ before the path; brackets hold an IPv6 address, or parsers disagree about where the host ends.
SOURCE_URL = r"^(https?|s3)://(\[[0-9A-Fa-f:.]+\](:[0-9]+)?|[^\s/@?#\[\]\\]+)([/?#]\S*)?$"
WEB_URL = r"^https?://[!-.0-?A-~]+(/[!-~]*)?$"  # ASCII, and no @ before the path
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$"
LORA_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
TRIGGER_WORD = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
LANGUAGE = r"^(auto|[a-z]{2}(_[a-z]{2})?)$"
JOB_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"  # DNS-1123
UID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"  # no empty segment, and none that is dots
SHA256 = r"^[0-9a-f]{64}$"
