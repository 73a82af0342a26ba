"""The exception for problems that the user can fix."""


class StudyError(Exception):
    """A problem with inputs or settings, reported in one sentence.

    The message names the file, the row and the value where there is one, and the way out.
    Stages print it without a traceback and exit with status 1; everything else is a bug and
    keeps its traceback.
    """


class AlteredFileError(StudyError):
    """A file is not the one that an earlier stage examined; the message names it."""
