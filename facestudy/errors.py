"""The one kind of error that is the user's to mend."""


class StudyError(Exception):
    """A problem with inputs or settings, told in one sentence.

    The message names the file, the row and the value where there is one, and the way out.
    Stages print it without a traceback and exit with status 1; everything else is a bug and
    keeps its traceback.
    """
