"""The answer as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from facestudy.prediction.answer import ClipAnswer, DetectorAnswer, Person, Score, in_words

NOT_KNOWN = "How often a clip with such a score is fake is not known: it depends on where the clip comes from."
NO_PROOF = (
    "A score is not proof. It says how a clip looks to a detector, and detectors fail on fakes unlike those they know."
)


def heading(detectors: Sequence[DetectorAnswer]) -> list[str]:
    """Name the detectors.

    Examples
    --------
    >>> one = DetectorAnswer(name="M", trainings=["1", "2"], crop="full", seen="clips of cats", measured="AUC 0.9")
    >>> heading([one])
    ['M: 2 trainings, crop full, trained on clips of cats; AUC 0.9.']
    """
    lines = []
    for one in detectors:
        trainings = f"{len(one.trainings)} trainings, crop {one.crop}, " if len(one.trainings) > 1 else ""
        measured = f"; {one.measured}" if one.measured else ""
        lines.append(f"{one.name}: {trainings}trained on {one.seen}{measured}.")
    return lines


def of_clip(clip: ClipAnswer, faces: bool = False) -> list[str]:
    """Write what is known of one clip.

    Parameters
    ----------
    clip : ClipAnswer
    faces : bool
        Add a line for each face.

    Returns
    -------
    list of str
        Lines.
    """
    return list(_of_clip(clip, faces))


def _of_clip(clip: ClipAnswer, faces: bool) -> Iterator[str]:
    if clip.status == "not_scored":
        yield f"{clip.source}: {no_score(clip)}"
        return
    yield f"{clip.source}: {facts(clip)}"
    for person in clip.persons:
        yield f"  {who(person, clip)}"
        width = max(len(score.detector) for score in person.scores)
        for score in person.scores:
            yield f"    {score.detector:{width}}  {_says(score)}"
        for score in person.scores:
            if score.meaning:
                yield f"    {means(score)}"
        for line in cautions(person):
            yield f"    {line}"
        if faces:
            yield from _faces(person)
    for line in excluded(clip):
        yield f"  {line}"


def no_score(clip: ClipAnswer) -> str:
    """Say why a clip has no score.

    Examples
    --------
    >>> no_score(ClipAnswer(source="a.mp4", status="not_scored", reason="the file is empty"))
    'no score: the file is empty.'
    """
    return f"no score: {clip.reason}."


def facts(clip: ClipAnswer) -> str:
    """Describe a clip that has a score: format, size, length, frames."""
    length = f", {clip.duration_s:.1f} s" if clip.duration_s else ""
    frames = f"{clip.frames} frame{'s' if clip.frames > 1 else ''} examined"
    return f"{clip.codec}, {clip.width}x{clip.height}{length}; {frames}"


def who(person: Person, clip: ClipAnswer) -> str:
    """Tell one person of a clip from the others.

    Parameters
    ----------
    person : Person
    clip : ClipAnswer
        With this person.

    Returns
    -------
    str
        Such as "person 1 of 2: 10 faces, 0.2 to 4.8 s".
    """
    count = f"{len(person.faces)} face{'s' if len(person.faces) > 1 else ''}"
    when = f", {person.faces[0].time_s:.1f} to {person.faces[-1].time_s:.1f} s" if clip.duration_s else ""
    return f"person {person.person} of {len(clip.persons)}: {count}{when}"


def _says(score: Score) -> str:
    around = spread(score)
    return f"P(fake) {score.p_fake:.2f}  {score.label}" + (f"  ({around})" if around else "")


def spread(score: Score) -> str:
    """Say how far faces and trainings lie apart; "" for one face and one training."""
    found = []
    if score.faces_sd is not None:
        found.append(f"faces {score.faces_low:.2f} to {score.faces_high:.2f}")
    if score.trainings_sd is not None:
        found.append(f"trainings {score.trainings_low:.2f} to {score.trainings_high:.2f}")
    return ", ".join(found)


def means(score: Score) -> str:
    """Say how often such scores were of fakes; the score has a meaning."""
    found = score.meaning
    assert found is not None
    return (
        f"of {found.scores} scores of test faces from {found.low:g} to {found.high:g}, "
        f"{found.fake_share:.0%} were of fakes"
    )


def cautions(person: Person) -> list[str]:
    """List the warnings, each with the detectors that it is about, and whether the detectors disagree."""
    lines = []
    for warning in dict.fromkeys(warning for score in person.scores for warning in score.warnings):
        names = [score.detector for score in person.scores if warning in score.warnings]
        lines.append(f"warning, {' and '.join(names)}: {warning}")
    if len({score.label for score in person.scores}) > 1:
        lines.append("the detectors disagree")
    return lines


def excluded(clip: ClipAnswer) -> list[str]:
    """List the frames and faces without a score, with the reason."""
    lines = []
    skipped = sorted(clip.skipped.items(), key=lambda one: -one[1])
    if skipped:
        lines.append("excluded: " + "; ".join(f"{in_words(reason)} ({count})" for reason, count in skipped))
    if clip.undecoded:
        lines.append(f"not all frames: {clip.undecoded}")
    return lines


def _faces(person: Person) -> Iterator[str]:
    names = list(person.faces[0].p_fake)
    yield "    frame   time    size  sharpness  " + "  ".join(names)
    for face in person.faces:
        scores = "  ".join(f"{face.p_fake[name]:>{len(name)}.2f}" for name in names)
        size, sharpness = face.quality["size"], face.quality["sharpness"]
        yield f"    {face.frame:5}  {face.time_s:5.1f}  {size:6.0f}  {sharpness:9.0f}  {scores}"


def footer(clips: Sequence[ClipAnswer]) -> list[str]:
    """Say what the scores are worth; nothing where there is no score.

    Examples
    --------
    >>> footer([])
    []
    """
    scores = [score for clip in clips for person in clip.persons for score in person.scores]
    if not scores:
        return []
    return [*([NOT_KNOWN] if any(score.meaning is None for score in scores) else []), NO_PROOF]
