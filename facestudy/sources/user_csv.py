"""CSV files that people write: read with a sentence for each fault, naming the file and the row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from facestudy.core.errors import StudyError
from facestudy.core.settings import quoted

MAX_COLUMNS = 12
"""So many of a wrong header's columns are put into a message."""


def decode(data: bytes, name: str) -> str:
    """The text of a file, without a byte order mark; name: what to call it in messages."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyError(f"{name} cannot be read as a CSV in UTF-8 (byte {error.start}); save it as UTF-8.") from None


def rows(text: str, name: str, required: str, others: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row is and its cells, as they stand; every column is there, empty where the file lacks it.

    required: the column that the file must have; others: those that it may have. Capitals and blanks
    in the header do not matter; rows without any text are passed over.

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
