"""References looked up in a library, for this project's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...scene.scenes import SceneReference
from ..generators import PipelineGenerator


class RetrievalGenerator:
    """References looked up in a library, then given to this project's model.

    With `pairs` this is the idea of Re-AudioLDM (Yuan et al., 2024), which looks up the three clips
    that are nearest to the whole prompt; its own network is not public. What references an item
    brings itself is left aside, as there, where the prompt alone is known.

    Parameters
    ----------
    library : str or Path
        File of a `dreamaudio_core.retrieval.SoundLibrary`.
    pipeline : PipelineGenerator
        The model.
    device : str
        Where the library's encoder runs.
    pairs : int, optional
        How many sounds for the prompt as a whole; one for each of its events by default.
    """

    takes_settings = True

    def __init__(
        self,
        library: str | Path,
        pipeline: PipelineGenerator,
        device: str = "cpu",
        pairs: int | None = None,
    ):
        from ...retrieval import SoundLibrary

        self.library = SoundLibrary(library, device=device)
        self.pipeline, self.pairs = pipeline, pairs
        self.sample_rate = pipeline.sample_rate
        found = "retrieval" if pairs is None else f"the idea of Re-AudioLDM: {pairs} retrieved"
        self.name = f"{found} ({Path(library).name}) + {pipeline.name}"
        self.identity = "\0".join([found, self.library.identity(), pipeline.identity])

    def generate(
        self,
        prompt: str,
        references: Sequence[SceneReference],
        seed: int,
        own: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Waveform [T] for the prompt and what the library has for it."""
        most = self.pipeline.model.max_references
        if self.pairs is not None:
            hits = self.library.search(prompt, min(self.pairs, most), whole=True)
        else:
            hits = self.library.search(prompt)
            if len(hits) > most:
                hits = self.library.search(prompt, most)
        return self.pipeline.generate(
            prompt,
            [SceneReference(hit.path, hit.caption) for hit in hits],
            seed,
            **({"own": own} if own else {}),
        )
