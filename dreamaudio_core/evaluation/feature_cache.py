"""Features on disk, so that an evaluation that was interrupted goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import AudioError, InputError
from ..files import atomic_write
from ..networks.extractor import Extractor
from ..progress import progress_bar
from .clips import Clip, read_clip

_VERSION = 1
"""Part of every key; raised whenever an extractor's arithmetic changes."""


class FeatureCache:
    """Arrays keyed by the content of a sound file and by the network and weights that read it.

    Parameters
    ----------
    folder : str or Path
        Where arrays lie, as `<network>-<weights>/<content>.npy`; made where missing.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser()

    def path(self, clip: Clip, extractor: Extractor) -> Path:
        """File of one clip's features."""
        return (
            self.folder
            / f"{extractor.name}-{_VERSION}-{extractor.digest[:16]}"
            / f"{clip.digest}.npy"
        )

    def load(self, clip: Clip, extractor: Extractor) -> np.ndarray | None:
        """Stored features, or None where there are none that can be read."""
        path = self.path(clip, extractor)
        if not path.is_file():
            # A pipe would be waited for.
            return None
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if isinstance(found, np.ndarray):
            return found
        found.close()
        return None

    def store(self, clip: Clip, extractor: Extractor, features: np.ndarray) -> None:
        """Keep features; the file appears whole or not at all."""
        path = self.path(clip, extractor)
        try:
            with atomic_write(path) as temporary, open(temporary, "wb") as file:
                np.save(file, features, allow_pickle=False)
        except OSError as error:
            raise InputError(
                f"feature cache {path.parent}: cannot be written ({error.strerror}); choose "
                "another folder with --cache"
            ) from error

    def features(
        self,
        clips: list[Clip],
        extractor: Extractor,
        batch_size: int = 8,
        show_progress: bool = False,
    ) -> list[np.ndarray]:
        """Features of every clip: stored ones read, missing ones computed in batches and stored at
        once.

        Parameters
        ----------
        clips : list of Clip
            The clips; equal contents are computed once.
        extractor : Extractor
            Network.
        batch_size : int
            Clips a batch.
        show_progress : bool
            Show a bar.

        Raises
        ------
        AudioError
            If the features of a clip are not finite.
        """
        # Copies of one file, such as targets that several test sets share, are one clip.
        distinct = {clip.digest: clip for clip in clips}
        stored = {digest: self.load(clip, extractor) for digest, clip in distinct.items()}
        found = {digest: features for digest, features in stored.items() if features is not None}
        todo = [clip for digest, clip in distinct.items() if digest not in found]
        with progress_bar(len(distinct), extractor.name, show_progress) as bar:
            bar.update(len(found))
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                waveforms = [read_clip(clip.path, extractor.sample_rate) for clip in batch]
                for clip, features in zip(batch, extractor.extract(waveforms), strict=True):
                    if not np.isfinite(features).all():
                        raise AudioError(
                            f"{clip.path}: its {extractor.name} features are not finite; check "
                            "the clip and "
                            f"{extractor.source}"
                        )
                    self.store(clip, extractor, features)
                    found[clip.digest] = features
                bar.update(len(batch))
        return [found[clip.digest] for clip in clips]
