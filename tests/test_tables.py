"""Tables: the same bytes for the same rows, and errors that name file, row and value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.tables import PREDICTIONS, Table, read, to_dataframe, write

SMALL = Table({"thing_id": "text", "note": "text", "count": "int", "size": 3}, key="thing_id")
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True), st.tuples(CELLS, st.integers(-9, 9) | st.none()), max_size=8
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, things: dict[str, tuple[str, int | None]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "small.csv"
    rows = [{"thing_id": key, "note": note, "count": count, "size": 0.5} for key, (note, count) in things.items()]
    write(path, to_dataframe(rows, SMALL), SMALL)
    back = read(path, SMALL)
    assert back["thing_id"].tolist() == sorted(things)
    assert back["note"].tolist() == [things[key][0] for key in sorted(things)]
    counts = [
        None if value is None else int(value)
        for value in back["count"].astype(object).where(back["count"].notna(), None)
    ]
    assert counts == [things[key][1] for key in sorted(things)]


def test_same_rows_in_any_order_same_bytes(tmp_path: Path) -> None:
    rows = [{"thing_id": name, "size": number} for name, number in [("b", 0.1 + 0.2), ("a", -0.0001), ("c", None)]]
    write(tmp_path / "one.csv", to_dataframe(rows, SMALL), SMALL)
    write(tmp_path / "two.csv", to_dataframe(rows[::-1], SMALL), SMALL)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.csv").read_text() == "thing_id,note,count,size\na,,,0.000\nb,,,0.300\nc,,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing_id,note,count\na,,1\n", r"small.csv: the columns should be thing_id, note, count, size"),
        ("thing_id,note,count,size\na,,one,1\n", r"small.csv, row 2: count = 'one' is not a number"),
        (f"thing_id,note,count,size\na,,{'9' * 5000},1\n", r"row 2: count = '9{1,300}\.\.\.9{1,300}' is not a number"),
        ("thing_id,note,count,size\na,,1,1\n../b,,1,1\n", r"small.csv, row 3: thing_id = '../b' is not an id"),
        ("thing_id,note,count,size\na,,1,1\na,,1,1\n", r"small.csv, row 3: thing_id = 'a' has a row already"),
        ("", r"small.csv is not a readable CSV"),
    ],
)
def test_a_bad_table_is_refused_by_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "small.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        read(path, SMALL)


def test_a_missing_table_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="`dvc repro` makes it"):
        read(tmp_path / "none.csv", PREDICTIONS)


def test_text_that_looks_like_a_number_or_nothing_stays_text(tmp_path: Path) -> None:
    rows = [{"thing_id": "007", "note": "NA"}, {"thing_id": "1e5", "note": "null"}]
    write(tmp_path / "t.csv", to_dataframe(rows, SMALL), SMALL)
    back = read(tmp_path / "t.csv", SMALL)
    assert back["thing_id"].tolist() == ["007", "1e5"] and back["note"].tolist() == ["NA", "null"]


def test_predictions_repeat_the_split_and_add_p_fake() -> None:
    assert ["repeat", *tables.PREDICTIONS.names()] == [*tables.SPLIT.names(), "p_fake"]
    assert tables.PREDICTIONS.columns["p_fake"] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing_id,note,count,size\nx,a,,1,1\ny,b,,1,1\n", "the columns should be thing_id, note, count, size"),
        ("thing_id,note,count,size\na,,1.5,1\n", "count does not hold whole numbers"),
        ("thing_id,note,count,size\na,,inf,1\n", "count does not hold whole numbers"),
        (f"thing_id,note,count,size\na,,{'9' * 400},1\n", "count does not hold whole numbers"),
    ],
)
def test_what_pandas_would_pass_or_trip_over_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "small.csv").write_text(text)
    with pytest.raises(StudyError, match=message):
        tables.read(tmp_path / "small.csv", SMALL)
