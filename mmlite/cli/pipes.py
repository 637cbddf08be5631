"""What happens when nobody reads on, as of `mmlite bench | head`."""

import os
import select
import sys
from contextlib import suppress


def leave_closed_pipes() -> bool:
    """Let what is still to be written to a closed pipe go nowhere; return whether there is one."""
    found = False
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if _is_closed(stream):
            found = True
            with suppress(OSError, ValueError):  # no file: a test's, or a notebook's
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return found


def _is_closed(stream) -> bool:
    """Whether nobody reads what is written to a stream."""
    try:
        stream.flush()
    except BrokenPipeError:
        return True
    # of a stream without a buffer nothing is left to flush; Windows has no poll
    with suppress(OSError, ValueError, AttributeError):
        look = select.poll()
        look.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in look.poll(0))
    return False
