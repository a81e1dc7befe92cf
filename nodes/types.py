"""Types of the sockets between the nodes."""

from comfy_api.latest import io

CATEGORY = "DreamAudio"

Model = io.Custom("DREAMAUDIO_MODEL")
References = io.Custom("DREAMAUDIO_REFERENCES")
Conditioning = io.Custom("DREAMAUDIO_CONDITIONING")
Mel = io.Custom("DREAMAUDIO_MEL")
Arrangement = io.Custom("DREAMAUDIO_ARRANGEMENT")


def aliases(*words: str) -> dict[str, list[str]]:
    """Keyword of `io.Schema` with other words that find a node; ComfyUI 0.8 knows none."""
    known = "search_aliases" in io.Schema.__dataclass_fields__
    return {"search_aliases": list(words)} if known else {}
