"""Types of the sockets between the nodes."""

from comfy_api.latest import io

CATEGORY = "DreamAudio"

Model = io.Custom("DREAMAUDIO_MODEL")
References = io.Custom("DREAMAUDIO_REFERENCES")
Conditioning = io.Custom("DREAMAUDIO_CONDITIONING")
Mel = io.Custom("DREAMAUDIO_MEL")
Arrangement = io.Custom("DREAMAUDIO_ARRANGEMENT")
