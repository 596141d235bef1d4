"""What a user did wrong, told in one sentence."""


class RequestError(Exception):
    """The request cannot be carried out as it stands: the command line prints this and exits with 2."""
