"""The one error that a user can mend: a verb prints it as a line and exits with status 2."""


class InputError(ValueError):
    """Says what is wrong, where, and what to do, in one line; raised for configs, files and arguments."""
