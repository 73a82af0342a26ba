"""What commands do alike: variables of the environment, wrong use, and errors in one sentence.

make passes its variables in the environment, so that neither make nor a shell expands them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn

from facestudy.core.errors import StudyError
from facestudy.sources.user_files import called


def words(variable: str, shown_as: str = "") -> list[str]:
    """Split an environment variable into words, with quotes as in a shell; none if it is not set.

    Parameters
    ----------
    variable
        Its name.
    shown_as
        What an error calls it; by default its name.
    """
    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError:
        raise StudyError(
            f"{shown_as or variable}: a quote is opened and not closed; close it or put a \\ before it."
        ) from None


def switched_on(variable: str) -> bool:
    """Whether a variable of the environment is 1."""
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise StudyError(f"{variable} = {value!r}: give {variable}=1, or leave it out.")
    return value == "1"


class Parser(argparse.ArgumentParser):
    """The parser of a command line; wrong use is one sentence and has the status 1."""

    def __init__(self, name: str, description: str | None, program: str = "") -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(program or f"python -m commands.{name}", description=description, formatter_class=formatter)
        self.name = name

    def error(self, message: str) -> NoReturn:
        """End the command."""
        self.exit(1, f"{self.name}: {message}; see `{self.prog} --help`.\n")


def status_of(name: str, work: Callable[[], int | None], kept: str = "") -> int:
    """Do the work of a command and return its exit status: what `work` returns, 1 after an error, 130 after Ctrl-C.

    Of an error that its user can fix, standard error has one sentence. `kept`: what is not lost after Ctrl-C.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # not that each network is traced once
    try:
        return work() or 0
    except KeyboardInterrupt:
        print(f"{name}: interrupted{kept and '; '}{kept}.", file=sys.stderr)
        return 130
    except StudyError as error:
        sentence = str(error)
    except OSError as error:
        where = f"{called(error.filename)}: " if error.filename else ""
        sentence = f"{where}{error.strerror or error}; fix this and run again."
    print(f"{name}: {sentence}", file=sys.stderr)
    return 1
