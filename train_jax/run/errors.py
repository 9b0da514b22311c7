"""The one exception that is meant for the user's eyes."""


class UserError(Exception):
    """A mistake the user can mend; launch.py prints it without a traceback."""


def cannot_write(path, error: Exception) -> UserError:
    """What to tell of an `error` of the system in writing `path`: a full disk, most often."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UserError(
        f"{path} cannot be written: {reason}. What was saved before is intact. Make room, or mend "
        "the cause, and run the same command again: it continues."
    )
