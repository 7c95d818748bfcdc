"""How does a command end? A user's mistake is one message and a code; a signal keeps everything and says so.

Exit codes of both programs: 0 done, 1 regression, 2 usage or missing prerequisite, 3 incomplete data, 4 invalid
measurement or infrastructure, 75 stopped by a signal with everything kept (EX_TEMPFAIL of BSD's sysexits.h), 141
nobody reads on (`| head`; what a shell says of SIGPIPE).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from turbo_train.errors import UserError

BROKEN = 4
STOPPED = 75
UNREAD = 141


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def terminate_is_interrupt() -> Iterator[None]:
    """Inside, SIGTERM (a scheduler's or a spot machine's notice) arrives as KeyboardInterrupt, as SIGINT does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequest:
    """Whether somebody asked to stop after the piece of work in hand."""

    requested = False


@contextmanager
def finishing(say: Callable[[str], None], in_hand: str = "micro-batch") -> Iterator[StopRequest]:
    """Inside, the first SIGINT or SIGTERM only sets `requested`; a second one is a KeyboardInterrupt as always.

    in_hand: what is finished first, for people.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        with suppress(RuntimeError):  # the signal came while just that stream was being written to
            say(f"finishing the {in_hand} in hand, then stopping; once more to stop at once")

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def program(command_line: Callable[[], object]) -> None:
    """What a console script calls. Once stopped, the program ends with that code, however often it is signalled.

    Taking the networks down takes a while, in which Python would end by the signal: a scheduler would see a failure.
    Our own warnings are for the user: one line each, without the line of code.
    """
    warnings.showwarning = _show_warning
    try:
        command_line()
    except SystemExit as end:
        if end.code == STOPPED:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        raise


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    ours = category is UserWarning and bool({"turbo_train", "turbo_eval"} & set(Path(filename).parts))
    text = f"warning: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    sys.stderr.write(text)


def exit_code_of(work: Callable[[], int | None]) -> int:
    """Run a command's work and say on stderr why it ended early. A bug shows its traceback and ends with 4.

    Differs: Python itself would end with 1, which here means that a model has become worse.
    """
    try:
        with terminate_is_interrupt():
            code = work() or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        if not _is_unread():  # another pipe, such as that of a worker process
            traceback.print_exc()
            return BROKEN
        return UNREAD
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return BROKEN
    except KeyboardInterrupt:
        sys.stderr.write("stopped by a signal; what was done is kept. Run the same command again to go on.\n")
        return STOPPED


def _is_unread() -> bool:
    """Whether stdout is a pipe whose reader has left (`| head`). What is still to be flushed then goes nowhere.

    As the documentation of Python's signal module advises (note on SIGPIPE).
    """
    if sys.platform == "win32":
        return False
    with suppress(OSError, ValueError):  # a stdout that is no file
        handle = sys.stdout.fileno()
        poll = select.poll()
        poll.register(handle, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
            return True
    return False
