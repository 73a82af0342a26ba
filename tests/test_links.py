"""Lists of links: both forms, the faults people leave in them, ids and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facestudy.core.errors import StudyError
from facestudy.core.tables import ID
from facestudy.sources.links import Link, is_address, parse, without_repeats, youtube_id

STUDY = (
    b"\xef\xbb\xbfhttps://www.youtube.com/watch?v=_iiOEQOtBlQ, [REAL] Office Space\r\n"
    b'"https://www.youtube.com/watch?v=qHrN5Mf5sgo", [FAKE] by "X", 2019\r\n'
    b"\r\n"
    b"'https://youtu.be/_iiOEQOtBlQ', [real] again\r\n"
    b'https://www.youtube.com/watch?v=LLR0jg7Xu9M, "[FAKE] a quote that never ends\r\n'
)


def test_the_studys_form() -> None:
    found = parse(STUDY, "list.csv", None)
    assert [(youtube_id(link.url), link.label) for link in found] == [
        ("_iiOEQOtBlQ", "real"),
        ("qHrN5Mf5sgo", "fake"),
        ("_iiOEQOtBlQ", "real"),
        ("LLR0jg7Xu9M", "fake"),
    ]
    assert found[3].where == "list.csv, row 5"
    kept, repeats = without_repeats(found)
    assert (len(kept), repeats) == (3, 1)


def test_our_form() -> None:
    text = "URL, label ,identity,donor,start,end\nhttps://a.org/x.mp4,fake,Ann B,d1,1:30,0:02:00.5\nhttps://a.org/y.mp4,REAL,,,,\n"
    one, two = parse(text.encode(), "list.csv", None)
    assert (one.label, one.donor, one.start_s, one.end_s) == ("fake", "d1", 90.0, 120.5)
    assert ID.fullmatch(one.identity)
    assert (two.label, two.identity, two.start_s, two.end_s) == ("real", "", None, None)


@pytest.mark.parametrize(
    ("text", "label", "says"),
    [
        ("", None, "has no links"),
        ("url,label\n", None, "has no links"),
        ("url,label\nhttps://a.org,maybe\n", None, "row 2: label = 'maybe'"),
        ("url,label\nhttps://a.org,\n", None, "row 2: no label"),
        ("url,label\nhttps://a.org,real\n", "fake", "row 2: the row says real"),
        ("url,label,url\na,real,b\n", None, "each once"),
        ("url,labels\na,real\n", None, "'labels'"),
        ("url,label\n,real\n", None, "row 2: the url is missing"),
        ("url,label\na\n", None, "row 2: the number of cells"),
        ("url,label,start\na,real,soon\n", None, "row 2: start = 'soon'"),
        ("url,label,start,end\na,real,10,5\n", None, "row 2: end = '5' is not after"),
        ("https://a.org/1.mp4, no tag\n", None, "row 1: no label"),
        ('url,label\n"a,real\n', None, "cannot be read as a CSV"),
        (f"url,label\na,{'x' * 100_000}\n", None, "row 2: label = 'xxx"),
        (f"url,label,start\na,real,{'x' * 100_000}\n", None, "row 2: start = 'xxx"),
        (f"url,{'x,' * 300_000}\na\n", None, "the columns are 'url', 'x', 'x'"),
        (f"url,{'x' * 100_000}\na,b\n", None, "the columns are 'url', 'xxx"),
        (f"{'x' * 1_000_000}\n", None, "row 1: no label"),
        ("url,label\na,\x1b[2J\n", None, r"label = '\x1b[2J' is neither"),
        ("url,\x1b[2J\na,b\n", None, r"'\x1b[2j'; they should be"),
        (f"https://a.org/{'x' * 100_000}, [FAKE]\nhttps://a.org/{'x' * 100_000}, [REAL]\n", None, "row 2: 'https://a"),
    ],
)
def test_a_fault_is_named_with_its_row(text: str, label: str | None, says: str) -> None:
    with pytest.raises(StudyError) as error:
        without_repeats(parse(text.encode(), "list.csv", label))
    assert says in str(error.value) and "list.csv" in str(error.value)
    assert len(str(error.value)) < 1000 and str(error.value).isprintable()


def test_not_text_and_too_long() -> None:
    with pytest.raises(StudyError, match="list.csv cannot be read as a CSV in UTF-8"):
        parse(b"\xff\xfe\x00", "list.csv", None)
    with pytest.raises(StudyError, match="at most 5"):
        parse(b"x" * 5_000_001, "list.csv", None)


def test_more_than_a_thousand_rows() -> None:
    text = "\n".join(f"https://a.org/{number}.mp4, [FAKE] x" for number in range(1500))
    kept, repeats = without_repeats(parse(text.encode(), "list.csv", None))
    assert (len(kept), repeats) == (1500, 0)
    assert len({link.video_id for link in kept}) == 1500


def test_one_video_under_two_labels_is_refused() -> None:
    first = Link("https://youtu.be/_iiOEQOtBlQ", "real", where="a.csv, row 1")
    second = Link("https://www.youtube.com/watch?v=_iiOEQOtBlQ", "fake", where="b.csv, row 7")
    with pytest.raises(StudyError, match="b.csv, row 7: .* is fake here and real in a.csv, row 1"):
        without_repeats([first, second])


def test_parts_of_a_video_are_videos_of_one_download() -> None:
    parts = [Link("https://youtu.be/_iiOEQOtBlQ", "real", start_s=s, end_s=s + 5) for s in (0.0, 10.0)]
    kept, _ = without_repeats(parts)
    assert len(kept) == 2 and len({link.key for link in kept}) == 1


@pytest.mark.parametrize(
    ("url", "video"),
    [
        ("https://www.youtube.com/watch?v=_iiOEQOtBlQ", "_iiOEQOtBlQ"),
        ("http://youtube.com/watch?list=x&v=_iiOEQOtBlQ&t=3", "_iiOEQOtBlQ"),
        ("https://m.youtube.com/shorts/_iiOEQOtBlQ?x", "_iiOEQOtBlQ"),
        ("https://youtu.be/_iiOEQOtBlQ?si=1", "_iiOEQOtBlQ"),
        ("https://www.youtube-nocookie.com/embed/_iiOEQOtBlQ", "_iiOEQOtBlQ"),
        ("https://youtube.com.evil.org/watch?v=_iiOEQOtBlQ", ""),
        ("https://www.youtube.com/watch?v=short", ""),
        ("https://[::1", ""),
    ],
)
def test_youtube_ids(url: str, video: str) -> None:
    assert youtube_id(url) == video


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://a.org/x.mp4", True),
        ("http://127.0.0.1:8000/x", True),  # refused when it connects, not here
        ("file:///etc/passwd", False),
        ("ftp://a.org/x", False),
        ("ytsearch:cats", False),
        ("https://user:secret@a.org/x", False),
        ("https:///x", False),
        ("https://a.org:99999/", False),
        ("https://a.org/\nx", False),
        ("https://a.org/" + "x" * 2000, False),
        ("-exec", False),
    ],
)
def test_addresses(url: str, fine: bool) -> None:
    assert is_address(url) is fine


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_sentence(data: bytes) -> None:
    for text in (data, b"url,label,start,end\n" + data):
        try:
            links, _ = without_repeats(parse(text, "list.csv", "real"))
        except StudyError:
            continue
        assert all(ID.fullmatch(link.video_id) and link.label == "real" for link in links)


@given(st.text(min_size=1, max_size=60))
def test_any_text_as_address_gives_an_id(url: str) -> None:
    link = Link(url, "fake")
    assert ID.fullmatch(link.video_id) and link.key
    assert isinstance(is_address(url), bool)


def test_two_links_with_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facestudy.sources.links.make_id", lambda text, *prefix: "same")
    with pytest.raises(StudyError, match=r"row 3: 'https://a.org/2.mp4' gets the id of 'https://a.org/1.mp4' in"):
        without_repeats(parse(b"url,label\nhttps://a.org/1.mp4,real\nhttps://a.org/2.mp4,real\n", "l.csv", None))
