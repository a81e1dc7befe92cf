"""While a node works: its progress bar, pictures of what forms, and the user's Cancel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.utils
from PIL import Image
from torch import Tensor, nn

from ..dreamaudio_core.audio.picture import colorize
from ..dreamaudio_core.pipeline import DreamAudio

# Pictures a run, and the size of one in pixels.
PICTURES = 8
WIDTH, HEIGHT = 512, 160


def check_cancel() -> None:
    """End the node where the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Bar:
    """A progress bar that also sees Cancel; a core function's `progress`."""

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(1)

    def __call__(self, done: int, total: int) -> None:
        check_cancel()
        self._bar.update_absolute(done, total)


@contextmanager
def layers_watched(module: nn.Module, bar: Bar | None = None) -> Iterator[None]:
    """Within, each layer of a network that has run moves the bar and may be the last, if the user
    cancels.
    """
    layers = [m for m in module.modules() if not any(m.children())]
    done = 0

    def after(*_) -> None:
        nonlocal done
        check_cancel()
        done += 1
        if bar is not None:
            # Layers that run more than once, as for a sound in pieces, leave it at the end.
            bar(min(done, len(layers)), len(layers))

    hooks = [layer.register_forward_hook(after) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Forming:
    """The mel of the first item as the sampler has it so far, as a picture every few steps."""

    def __init__(self, core: DreamAudio, seconds: float):
        self.core = core
        audio = core.config.audio
        self.frames = round(seconds * audio.sample_rate / audio.hop_length)

    def at(self, step: int, total: int, latents: Tensor) -> tuple[str, Image.Image, int] | None:
        """ComfyUI's preview of estimated latents [B, C, T, F], or None at most steps."""
        if step % max(1, -(-total // PICTURES)) or step == total:
            return None
        mel = self.core.decode(latents[:1])[0, 0, : self.frames]
        return "JPEG", Image.fromarray(colorize(mel)).resize((WIDTH, HEIGHT)), WIDTH
