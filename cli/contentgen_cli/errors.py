"""What can go wrong, in words that say what to do; `main` prints them, without a traceback.

CliError
├── NotFound       no such resource
├── Forbidden      the user lacks the right
├── Waiting        a container that has no log yet
├── Unreachable    the API server does not answer; it may again
└── Changed        somebody else wrote in between
"""


class CliError(Exception):
    """Something that the user can do something about."""


class ResourceNotFound(CliError):
    """There is no such resource."""


class NotPermitted(CliError):
    """The user may not do that."""


class Waiting(CliError):
    """The container has not started."""


class ApiUnreachable(CliError):
    """The API server does not answer."""


class ResourceChanged(CliError):
    """The resource was changed since it was read."""
