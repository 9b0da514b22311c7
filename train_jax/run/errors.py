"""The one exception that is meant for the user's eyes, and what else is told in one line."""

import contextlib
import difflib
import errno
import re

# What no other code would fix: a full disk, a quota, a limit; no permission; a disk that fails
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


class UserError(Exception):
    """A mistake the user can fix; launch.py prints it without a traceback."""


def cannot_write(path, error: Exception) -> UserError:
    """What to tell of an `error` of the system in writing `path`: a full disk, most often."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UserError(
        f"{path} cannot be written: {reason}. What was saved before is intact. Make room, or fix "
        "the cause, and run the same command again: it continues."
    )


@contextlib.contextmanager
def naming(section: str):
    """Makes of a ValueError of a setting, such as 'flip must be in [0, 1], got 2.0', a UserError
    that names the field: 'config.augment.flip must be ...'."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(named(f"config.{section}", error)) from error


def named(where: str, error: Exception) -> str:
    """'config.model' and 'cell must be one of ...' -> 'config.model.cell must be one of ...'."""
    return f"{where}{'.' if re.match('[a-z_0-9]+ must be ', str(error)) else ': '}{error!s:.500}"


def check_choice(name: str, value: str, choices):
    """Raises `no_choice` unless `value` is one of the choices."""
    if value not in choices:
        raise no_choice(name, value, choices)


def no_choice(name: str, value: str, choices) -> ValueError:
    """Names the choices and the nearest."""
    close = difflib.get_close_matches(str(value), [*choices], 1)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    return ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")


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
