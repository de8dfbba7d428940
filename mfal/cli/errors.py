"""Errors of a verb: one line on stderr and an exit code.

0 done; 2 bad input; 3 paused and resumable; 4 stopped for too many failures; 1 a fault
of mfal itself.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from typer.core import TyperGroup

DONE, FAULT, BAD_INPUT, PAUSED, TOO_MANY_FAILURES = 0, 1, 2, 3, 4

EXIT_CODES = {  # by the nearest class of an error that is named here
    **dict.fromkeys(("Stopped", "Paused", "StoreWriteError"), PAUSED),
    "TooManyFailures": TOO_MANY_FAILURES,
    **dict.fromkeys(("CampaignLocked", "OracleError", "SamplingError"), BAD_INPUT),
    **dict.fromkeys(("ValueError", "TypeError", "ArithmeticError"), BAD_INPUT),
    "MemoryError": BAD_INPUT,  # refused before it started, see `TooLargeError`
    **dict.fromkeys(("FileNotFoundError", "FileExistsError"), BAD_INPUT),
    **dict.fromkeys(("IsADirectoryError", "NotADirectoryError"), BAD_INPUT),
    "PermissionError": BAD_INPUT,
    "OSError": PAUSED,  # the disk is full, or gone
    "Exception": FAULT,
}


class Stopped(BaseException):
    """SIGTERM or SIGINT came."""


class Verbs(TyperGroup):
    """The verbs; an error becomes one line on stderr and an exit code."""

    def main(
        self, args: Sequence[str] | None = None, *_: Any, **settings: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        verbose = "--verbose" in words
        words = [word for word in words if word != "--verbose"]
        settings |= {"standalone_mode": False, "prog_name": "mfal"}
        try:
            with signals_stop():
                front = ["--verbose"] if verbose else []
                code = super().main([*front, *words], **settings)
        except (Exception, Stopped) as error:
            if verbose:
                traceback.print_exc()
            code, line = verdict(error)
            sys.stderr.write(f"mfal: {line}\n")
        sys.exit(code or DONE)


def verdict(error: BaseException) -> tuple[int, str]:
    """The exit code of an error and what is said of it, in one line."""
    if hasattr(error, "format_message"):  # of the words on the command line
        context = getattr(error, "ctx", None)
        where = f" (see `{context.command_path} --help`)" if context else ""
        return BAD_INPUT, " ".join(error.format_message().split()) + where
    names = [kind.__name__ for kind in type(error).__mro__]
    code = next(EXIT_CODES[name] for name in names if name in EXIT_CODES)
    text = " ".join(str(error).split()) or names[0]
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
        text += ": check the path" if code == BAD_INPUT else ""
    if code == PAUSED:
        text += "; what was finished is kept: run the same command again to go on"
    if code == FAULT:
        text = f"a fault of mfal, {names[0]}: {text} (--verbose shows where)"
    return code, text


@contextmanager
def signals_stop() -> Iterator[None]:
    """SIGTERM and SIGINT end the verb as an error does: workers end, files are whole."""

    def stop(number: int, _: object) -> NoReturn:
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
