"""Whose rest a test face gets: another frame of its clip, or another person of its class.

Class, method and split are those of the face, so a donor has evidence of the same class, and no model has been fitted
on it. Wherever it is possible, each face is the donor of exactly one other. So a detector that looks at the rest alone
meets the same rests as before, in another order within each class.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from facestudy.alterations.settings import COMPOSITE, Alteration
from facestudy.crops.jitter import generator

MISSING = {
    "other_frame": "no second test frame of their clip",
    "other_person": "no test face of another group with the same class and method",
}
"""What the faces without a donor lack."""
MOST_WITHOUT_DONOR = 0.1
"""The largest share of test faces that may lack a donor: they are scored unaltered, which makes a change smaller."""


def donors_for(
    alterations: Sequence[Alteration], tested: pd.DataFrame
) -> tuple[dict[Alteration, dict[str, str]], list[str]]:
    """Choose the donors for all alterations that replace the rest of faces.

    Parameters
    ----------
    alterations
        Those of the settings; of other kinds too.
    tested : DataFrame
        As `choose_donors` takes it.

    Returns
    -------
    donors : dict of Alteration to dict of str to str
        What `choose_donors` returns, for each alteration that can be made: for which no more than MOST_WITHOUT_DONOR of
        the faces lack a donor.
    notes : list of str
        What to report: how many faces lack a donor, and what follows from that.
    """
    donors, notes, faces = {}, [], tested["face_id"].nunique()
    for one in alterations:
        if one.kind != COMPOSITE:
            continue
        found = choose_donors(tested, one.written)
        lacking = faces - len(found)
        has = f"{lacking} of {faces} test faces have {MISSING[one.written]}"
        if lacking > MOST_WITHOUT_DONOR * faces:
            notes.append(f"{one} is skipped, as {has}")
            continue
        donors[one] = found
        if lacking:
            notes.append(f"{has} and are not altered: {one}")
    return donors, notes


def choose_donors(tested: pd.DataFrame, source: str) -> dict[str, str]:
    """Choose the donor of each test face.

    Parameters
    ----------
    tested : DataFrame
        The test rows of tables.SPLIT, of all splits. The order of the rows does not matter.
    source
        "other_frame": of the same clip and track, half of its test frames away. "other_person": of another group, with
        the same class and method.

    Returns
    -------
    dict of str to str
        The id of the donor by the id of the face. A donor is tested in the same splits as its face. Faces that have no
        donor are left out.
    """
    roles: dict[str, list[tuple[int, str, str]]] = {}
    for row in tested.itertuples():
        roles.setdefault(row.face_id, []).append((row.repeat, row.label, row.method))
    alike: dict[tuple[object, ...], list[tuple[str, str]]] = {}
    for row in tested.drop_duplicates("face_id").sort_values("face_id").itertuples():
        clip = (row.video_id, row.track_id) if source == "other_frame" else ()
        alike.setdefault((*sorted(roles[row.face_id]), *clip), []).append((row.group, row.face_id))
    donors: dict[str, str] = {}
    for faces in alike.values():
        donors |= _half_way([face for _, face in faces]) if source == "other_frame" else _of_another_group(faces)
    return donors


def _half_way(faces: Sequence[str]) -> dict[str, str]:
    """Donors among the frames of a clip: neighbours would be nearly the same picture."""
    count = len(faces)
    return {face: faces[(n + count // 2) % count] for n, face in enumerate(faces)} if count > 1 else {}


def _of_another_group(faces: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Donors among groups and their faces: all of them on a ring, and each face takes the one `largest` places on.

    Groups are in an order drawn from their names, as neighbours by name are often of one kind; a largest one is first.
    If it has more than half of the faces, the others are the donors of several of its faces each.
    """
    members: dict[str, list[str]] = {}
    for group, face in faces:
        members.setdefault(group, []).append(face)
    largest, count = max(map(len, members.values())), len(faces)
    if len(members) < 2:
        return {}
    order = sorted(members, key=lambda group: (len(members[group]) < largest, generator(group, "composite").random()))
    ring = [face for group in order for face in members[group]]
    return {
        face: ring[largest + n % (count - largest) if n < largest else (n + largest) % count]
        for n, face in enumerate(ring)
    }
