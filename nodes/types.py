"""Types of the sockets between the nodes."""

from comfy_api.latest import io

from ..dreamaudio_core.config import MAX_SEED

CATEGORY = "DreamAudio"
# Length of a sound, within what every stage takes.
MIN_SECONDS, MAX_SECONDS = 0.3, 120.0

Model = io.Custom("DREAMAUDIO_MODEL")
References = io.Custom("DREAMAUDIO_REFERENCES")
Conditioning = io.Custom("DREAMAUDIO_CONDITIONING")
Mel = io.Custom("DREAMAUDIO_MEL")
Arrangement = io.Custom("DREAMAUDIO_ARRANGEMENT")


def seconds_input(tooltip: str):
    """Length of a sound."""
    return io.Float.Input(
        "seconds", default=10.24, min=MIN_SECONDS, max=MAX_SECONDS, step=0.01, tooltip=tooltip
    )


def seed_input(tooltip: str):
    """Random seed, with the control that changes it after a run."""
    return io.Int.Input(
        "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip
    )


def aliases(*words: str) -> dict[str, list[str]]:
    """Keyword of `io.Schema` with other words that find a node; ComfyUI 0.8 knows none."""
    known = "search_aliases" in io.Schema.__dataclass_fields__
    return {"search_aliases": list(words)} if known else {}
