"""The one exception that is meant for the user's eyes, and what else is told in one line."""

import errno

# What no other code would fix: a full disk, a quota, a limit; no permission; a disk that fails
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


class UserError(Exception):
    """A mistake the user can mend; launch.py prints it without a traceback."""


def cannot_write(path, error: Exception) -> UserError:
    """What to tell of an `error` of the system in writing `path`: a full disk, most often."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UserError(
        f"{path} cannot be written: {reason}. What was saved before is intact. Make room, or mend "
        "the cause, and run the same command again: it continues."
    )


def in_one_line(error: Exception, workdir) -> str | None:
    """What to tell of an error that is not the program's; None where a traceback says more."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        return str(cannot_write(error.filename or workdir, error))
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # jax's RuntimeError
        return (
            "out of memory. Lower the sizes in config.model, or train.batch_size and "
            f"train.eval_batch_size ({str(error).splitlines()[0] if str(error) else 'no room'})"
        )
    return None
