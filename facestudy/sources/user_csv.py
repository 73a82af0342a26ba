"""CSV files that people write: read with a sentence for each fault, naming the file and the row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted

MAX_COLUMNS = 12
"""The most columns of a wrong header that a message lists."""


def decode(data: bytes, name: str) -> str:
    """Decode a file as UTF-8, with or without a byte order mark.

    Parameters
    ----------
    data
        The content of the file.
    name
        The name of the file, for messages.

    Returns
    -------
    str

    Raises
    ------
    StudyError
        When the file is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyError(f"{name} cannot be read as a CSV in UTF-8 (byte {error.start}); save it as UTF-8.") from None


def rows(text: str, name: str, required: str, others: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header; rows without any text are skipped.

    Parameters
    ----------
    text
        The content of the file. Capitals and blanks in the header do not matter.
    name
        The name of the file, for messages.
    required
        The column that the file must have.
    others
        The columns that it may have.

    Yields
    ------
    where : str
        The file and row, for messages.
    cells : dict of str to str
        Every column, unchanged; empty where the file lacks it.

    Raises
    ------
    StudyError
        When the header or a row is wrong; the message names the file and the row.

    Examples
    --------
    >>> list(rows("Label, URL\\nfake,x\\n", "a.csv", "url", ["label", "start"]))
    [('a.csv, row 2', {'url': 'x', 'label': 'fake', 'start': ''})]
    """
    known = [required, *others]
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [(column or "").strip().lower() for column in reader.fieldnames or []]
        if required not in columns or set(columns) - set(known) or len(set(columns)) < len(columns):
            raise StudyError(
                f"{name}: the columns are {', '.join(map(quoted, columns[:MAX_COLUMNS])) or 'missing'}"
                f"{', …' * (len(columns) > MAX_COLUMNS)}; "
                f"they should be {required} and any of {', '.join(others)}, each once."
            )
        reader.fieldnames = columns
        for row in reader:
            where = f"{name}, row {reader.line_num}"
            if None in row or None in row.values():
                raise StudyError(f"{where}: the number of cells is not that of the header.")
            if any(cell.strip() for cell in row.values()):
                yield where, {column: row.get(column, "") for column in known}
    except csv.Error as error:
        raise StudyError(f"{name} cannot be read as a CSV ({error}).") from None
