"""The one exception that is meant for the user's eyes."""


class UserError(Exception):
    """A mistake the user can mend; launch.py prints it without a traceback."""
