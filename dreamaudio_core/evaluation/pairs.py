"""Generated clips and their targets, paired by stem, with every clip that does not fit named and
counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import AudioError, InputError
from ..progress import progress_bar
from .clips import Clip, inspect_clip, list_clips

_SHOWN = 5


@dataclass(frozen=True)
class Policy:
    """What happens to clips that do not fit.

    Parameters
    ----------
    unpaired : {"refuse", "skip"}
        A clip of one folder without a counterpart in the other.
    bad_audio : {"refuse", "skip"}
        A file that cannot be decoded, is empty, or holds NaN or infinite samples; skipping drops
        its pair.
    mixed_rates : {"refuse", "skip", "resample"}
        Clips whose sample rate is not the most frequent one of their folder.
    """

    unpaired: str = "refuse"
    bad_audio: str = "refuse"
    mixed_rates: str = "refuse"


@dataclass(frozen=True)
class Pairing:
    """Clips that are scored.

    Parameters
    ----------
    stems : tuple of str
        Names of the items, sorted.
    generated : dict of str to Clip
        Generated clip of each item.
    target : dict of str to Clip
        Target of each item; empty where there is no target folder.
    notes : tuple of str
        One sentence for each kind of clip left out or converted, with count and names.
    """

    stems: tuple[str, ...]
    generated: dict[str, Clip]
    target: dict[str, Clip] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def pair_folders(
    generated: str | Path,
    target: str | Path | None = None,
    policy: Policy = Policy(),
    show_progress: bool = False,
) -> Pairing:
    """Pair the clips of two folders by the stems of their names.

    Parameters
    ----------
    generated : str or Path
        Folder of generated clips.
    target : str or Path, optional
        Folder of targets; without it every generated clip is an item of its own.
    policy : Policy
        What happens to clips that do not fit.
    show_progress : bool
        Show a bar while files are read.

    Raises
    ------
    InputError
        If a folder is missing or empty, or clips are refused, or none remain; names and counts
        them.
    """
    made = {p.stem: p for p in list_clips(generated, "generated")}
    wanted = None if target is None else {p.stem: p for p in list_clips(target, "target")}
    return pair_files(made, wanted, policy, show_progress)


def pair_files(
    generated: dict[str, Path],
    target: dict[str, Path] | None = None,
    policy: Policy = Policy(),
    show_progress: bool = False,
) -> Pairing:
    """Pair files by the names they are given here; otherwise as `pair_folders`."""
    paths = (
        {"generated": generated} if target is None else {"generated": generated, "target": target}
    )
    notes: list[str] = []
    common = set.intersection(*(set(side) for side in paths.values()))
    for side, other in (
        (("generated", "target"), ("target", "generated")) if target is not None else ()
    ):
        alone = sorted(set(paths[side]) - common)
        _refuse_or_note(
            notes,
            policy.unpaired,
            "unpaired",
            [paths[side][s].name for s in alone],
            f"{side} clips have no counterpart of the same stem among the {other} clips",
        )
    kept = {side: {stem: found[stem] for stem in sorted(common)} for side, found in paths.items()}
    clips, bad = _inspect(kept, show_progress)
    _refuse_or_note(notes, policy.bad_audio, "bad-audio", bad, "clips cannot be used")
    for side, found in clips.items():
        rates = Counter(clip.rate for clip in found.values())
        if len(rates) > 1:
            # Of equally frequent rates the highest is the folder's.
            main = max(rates, key=lambda rate: (rates[rate], rate))
            odd = sorted(stem for stem, clip in found.items() if clip.rate != main)
            _refuse_or_note(
                notes,
                policy.mixed_rates,
                "mixed-rates",
                [f"{found[s].path.name} ({found[s].rate} Hz)" for s in odd],
                f"{side} clips have another sample rate than the folder's usual {main} Hz",
            )
            if policy.mixed_rates == "skip":
                clips[side] = {stem: clip for stem, clip in found.items() if clip.rate == main}
    stems = tuple(sorted(set.intersection(*(set(found) for found in clips.values()))))
    if not stems:
        detail = "; ".join(notes) or "no names are shared"
        raise InputError(f"no clips are left to score: {detail}")
    scored = {side: {stem: found[stem] for stem in stems} for side, found in clips.items()}
    return Pairing(stems, scored["generated"], scored.get("target", {}), tuple(notes))


def _inspect(
    paths: dict[str, dict[str, Path]], show_progress: bool
) -> tuple[dict[str, dict[str, Clip]], list[str]]:
    clips: dict[str, dict[str, Clip]] = {side: {} for side in paths}
    bad: list[str] = []
    with progress_bar(sum(map(len, paths.values())), "reading", show_progress) as bar:
        for side, found in paths.items():
            for stem, path in found.items():
                try:
                    clips[side][stem] = inspect_clip(path)
                except AudioError as error:
                    bad.append(str(error))
                bar.update()
    return clips, bad


def _refuse_or_note(
    notes: list[str], choice: str, option: str, names: list[str], problem: str
) -> None:
    """Refuse or note what was found; long lists are shortened, their count is not."""
    if not names:
        return
    shown = ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )
    if choice == "refuse":
        other = "skip or resample" if option == "mixed-rates" else "skip"
        raise InputError(
            f"{len(names)} {problem}: {shown}; fix the folder, or choose --{option} {other}"
        )
    done = {"skip": "skipped", "resample": "resampled"}[choice]
    notes.append(f"{len(names)} {problem}, {done}: {shown}")
