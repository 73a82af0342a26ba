"""The variables that make passes to the commands in the environment, so that neither make nor a shell expands them."""

from __future__ import annotations

import os
import shlex

from facestudy.core.errors import StudyError


def words(variable: str) -> list[str]:
    """Split an environment variable into words, with quotes as in a shell; none if it is not set."""
    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError:
        raise StudyError(f"{variable}: a quote is opened and not closed; close it or put a \\ before it.") from None


def switched_on(variable: str) -> bool:
    """Whether a variable of the environment is 1."""
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise StudyError(f"{variable} = {value!r}: give {variable}=1, or leave it out.")
    return value == "1"
