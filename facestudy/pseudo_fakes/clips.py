"""The twins of a real clip: a real one and its pseudo-fakes, with the same frames, altered and encoded alike.

What does not make the pseudo-fake is done to both: the frames that are taken, their size, the changes of colour where
the target gets them, the encoder. Everything that is drawn is drawn once for a clip, from the seed and the contents of
the files, so the clips can be made in any order and by any number of processes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray, Layer, Picture
from facestudy.media import npz
from facestudy.media.encoding import encode, one_thread
from facestudy.media.video import Limits
from facestudy.pseudo_fakes import donor_swap, masks, self_blend
from facestudy.pseudo_fakes.donors import aligned, nearest_frames
from facestudy.pseudo_fakes.settings import Method, PseudoFakeSettings
from facestudy.pseudo_fakes.tracks import Source, Track, load, take_frames
from facestudy.runtime.work_cache import key_of

REAL = "real.mp4"
PARAMETERS = "parameters.json"
COLOUR_FRAMES = 8
"""Evenly spaced frames that decide a clip's transfer of colours."""


@dataclass(frozen=True)
class Real:
    """A real clip with its track.

    Attributes
    ----------
    source : Source
    track : Track
    """

    source: Source
    track: Track


@dataclass(frozen=True)
class Job:
    """The twins to make of one real clip.

    Attributes
    ----------
    target : Real
    donor : Real or None
        None where no donor is needed.
    methods : tuple of str
        Of each pseudo-fake.
    """

    target: Real
    donor: Real | None
    methods: tuple[Method, ...]


def seed_of(seed: int, sha256: str, what: str) -> int:
    """Derive the seed of one draw.

    Parameters
    ----------
    seed
        Of the settings.
    sha256
        Of the real clip.
    what
        Which draw it is.

    Returns
    -------
    int
        0 to 2**48 - 1.
    """
    return int(key_of(seed, sha256, what)[:12], 16)


def methods_of(settings: PseudoFakeSettings, sha256: str, has_donor: bool) -> tuple[Method, ...]:
    """Choose the methods of a clip's pseudo-fakes: they take turns, and the clip's content decides which comes first.

    Parameters
    ----------
    settings
        Section `pseudo_fakes` of the settings.
    sha256
        Of the real clip.
    has_donor
        Without a donor, only self_blend is possible.

    Returns
    -------
    tuple of str
        `per_clip` methods; empty when none is possible.
    """
    possible = [method for method in settings.methods if has_donor or method != "donor_swap"]
    first = seed_of(settings.seed, sha256, "first method")
    return tuple(possible[(first + turn) % len(possible)] for turn in range(settings.per_clip)) if possible else ()


def render(job: Job, settings: PseudoFakeSettings, limits: Limits, folder: Path) -> None:
    """Write the twins of a real clip: real.mp4, and 0.mp4, 0.npz and so on for each pseudo-fake.

    A file .npz holds `landmarks`, float32 of shape (frames, 5, 2), and `mask`, uint8 of shape (frames, height, width):
    the share of the source in each pixel, 255 for all of it, 0 only where the frame is unchanged. parameters.json holds
    the seed and the parameters of each pseudo-fake.

    Parameters
    ----------
    job
        The clip.
    settings
        Section `pseudo_fakes` of the settings.
    limits
        What the files may be, and what decoding them may take.
    folder
        Where the files go.

    Raises
    ------
    DecodingStopped
        When decoding exceeds the limits on time or memory, or crashes.
    MediaError
        When decoding fails in an unforeseen way.
    AlteredFileError
        When a file is not the one that was examined.
    """
    with one_thread(), TemporaryDirectory(dir=folder) as frames:
        target = Frames(job.target, settings, limits, Path(frames) / "target")
        donor = Frames(job.donor, settings, limits, Path(frames) / "donor") if job.donor else None
        track, fps = job.target.track, Fraction(job.target.track.fps)
        appearance = Appearance(settings, job.target.source.sha256)
        encode((appearance.target(picture) for picture in target), fps, settings.quantizer, folder / REAL)
        made = []
        for number, method in enumerate(job.methods):
            seed = seed_of(settings.seed, job.target.source.sha256, f"{method} {number}")
            fake = PseudoFake(method, np.random.default_rng(seed), appearance, target, donor)
            with _truth(folder / f"{number}.npz", track, target.size) as keep:
                encode(fake.pictures(keep), fps, settings.quantizer, folder / f"{number}.mp4")
            made.append({"method": method, "seed": seed, "parameters": fake.parameters})
    (folder / PARAMETERS).write_text(json.dumps(made))


class Frames:
    """The frames of a clip that show a face, decoded to a folder and read one by one.

    Parameters
    ----------
    clip
        The clip.
    settings
        Section `pseudo_fakes` of the settings.
    limits
        What the file may be, and what decoding it may take.
    folder
        Where the frames go.
    """

    def __init__(self, clip: Real, settings: PseudoFakeSettings, limits: Limits, folder: Path) -> None:
        folder.mkdir()
        take_frames(clip.source, settings, limits, folder)
        self._track, self._folder = clip.track, folder
        self.landmarks = clip.track.points()

    def __len__(self) -> int:
        return len(self._track.names)

    def __getitem__(self, number: int) -> Picture:
        return load(self._folder / self._track.names[number], self._track.rotation)

    def __iter__(self) -> Iterator[Picture]:
        return (self[number] for number in range(len(self)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self[0].shape[:2]
        return height, width


class Appearance:
    """Whether the target or the source of a clip's self-blends is altered, and how the target is.

    Parameters
    ----------
    settings
        Section `pseudo_fakes` of the settings.
    sha256
        Of the real clip.
    """

    def __init__(self, settings: PseudoFakeSettings, sha256: str) -> None:
        rng = np.random.default_rng(seed_of(settings.seed, sha256, "target"))
        altered = "self_blend" in settings.methods and bool(rng.integers(2))
        self.changes = self_blend.draw_change(rng) if altered else None

    def target(self, picture: Picture) -> Picture:
        """Return the target's frame for a decoded one: what the real twin shows.

        Parameters
        ----------
        picture : ndarray of shape (height, width, 3), uint8

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
        """
        return picture if self.changes is None else self_blend.altered(picture, self.changes)


class PseudoFake:
    """One pseudo-fake of a clip.

    Parameters
    ----------
    method
        "self_blend" or "donor_swap".
    rng
        Where the random numbers come from.
    appearance
        Of the clip.
    target
        The clip's frames.
    donor
        The donor's frames; None for self_blend.

    Attributes
    ----------
    parameters : dict
        Everything that was drawn or computed for the clip, as JSON can hold it.
    """

    def __init__(
        self, method: Method, rng: np.random.Generator, appearance: Appearance, target: Frames, donor: Frames | None
    ) -> None:
        self._appearance, self._target = appearance, target
        plan = masks.self_blend_plan(rng) if method == "self_blend" else masks.donor_plan(rng)
        self._mask = masks.draw_mask(plan, rng)
        self.parameters: dict[str, Any] = {
            "mask": asdict(plan),
            "target": appearance.changes and asdict(appearance.changes),
        }
        self._donor: list[FloatArray] | None = None  # its landmarks for each frame of the target
        self._source: Callable[[int, Picture, tuple[slice, slice]], Picture | Layer]
        if method == "self_blend":
            self._source = self._self_blend(rng)
        else:
            assert donor is not None
            self._source = self._donor_swap(donor)

    def pictures(self, keep: Callable[[Picture], None]) -> Iterator[Picture]:
        """Make the frames one by one.

        Parameters
        ----------
        keep
            Is called with the mask of each frame, shape (height, width), uint8.

        Yields
        ------
        ndarray of shape (height, width, 3), uint8
            RGB.
        """
        for number, picture in enumerate(self._target):
            share = self._placed(number, picture.shape)
            area = masks.rectangle(share)
            keep(np.ceil(share * 255).astype(np.uint8))
            yield masks.blend(self._appearance.target(picture), self._source(number, picture, area), share, area)

    def _placed(self, number: int, shape: tuple[int, ...]) -> Layer:
        """The mask on a frame of the target."""
        donor = None if self._donor is None else self._donor[number]
        return masks.place(self._mask, self._target.landmarks[number], shape, donor)

    def _self_blend(self, rng: np.random.Generator) -> Callable[[int, Picture, tuple[slice, slice]], Picture]:
        """The part of a frame's altered copy that is blended. One of the two copies is altered, see `Appearance`."""
        changes = self_blend.draw_change(rng) if self._appearance.changes is None else None
        move = self_blend.draw_move(rng)
        self.parameters |= {"source": changes and asdict(changes), "move": asdict(move)}

        def source(number: int, picture: Picture, area: tuple[slice, slice]) -> Picture:
            copy = picture if changes is None else self_blend.altered(picture, changes)
            return self_blend.source_picture(copy, self_blend.moved(self._target.landmarks[number], move))[area]

        return source

    def _donor_swap(self, donor: Frames) -> Callable[[int, Picture, tuple[slice, slice]], Layer]:
        """The part of the donor's frame, in the target's colours, that is blended."""
        of_frame = nearest_frames(aligned(self._target.landmarks), aligned(donor.landmarks)).tolist()

        landmarks = self._donor = [donor.landmarks[number] for number in of_frame]

        def warped(number: int, shape: tuple[int, ...], area: tuple[slice, slice]) -> Picture:
            points = landmarks[number], self._target.landmarks[number]
            return donor_swap.warp_donor(donor[of_frame[number]], *points, shape)[area]

        def parts(of_donor: bool) -> Iterator[tuple[Layer, BoolArray]]:
            for number in np.linspace(0, len(self._target) - 1, COLOUR_FRAMES).round().astype(int).tolist():
                picture = self._target[number]
                share = self._placed(number, picture.shape)
                area = masks.rectangle(share)
                part = warped(number, picture.shape, area) if of_donor else self._appearance.target(picture)[area]
                yield donor_swap.to_lab(part), share[area] > 0.5

        gain, offset = donor_swap.colour_transfer(*(donor_swap.moments(parts(of_donor)) for of_donor in (True, False)))
        self.parameters |= {"gain": gain.tolist(), "offset": offset.tolist(), "donor_frames": of_frame}
        return lambda number, picture, area: donor_swap.recoloured(warped(number, picture.shape, area), gain, offset)


@contextmanager
def _truth(path: Path, track: Track, size: tuple[int, int]) -> Iterator[Callable[[Picture], None]]:
    """Write the truth of a clip, the masks one by one: those of a long clip do not fit into memory."""
    with zipfile.ZipFile(path, "w") as file:
        shape = (len(track.names), *size)
        with npz.member(file, "mask", np.dtype(np.uint8), shape) as masks_file:

            def keep(mask: Picture) -> None:
                masks_file.write(np.ascontiguousarray(mask).tobytes())

            yield keep
        points: FloatArray = track.points()
        with npz.member(file, "landmarks", np.dtype(np.float32), points.shape) as landmarks_file:
            landmarks_file.write(points.astype(np.float32).tobytes())
