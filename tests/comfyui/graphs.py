"""Small graphs in API format."""

MODEL = "tiny"
SECONDS = 2.56


def reference(audio="dreamaudio_crow.flac", caption="a crow caws", strength=1.0, start="auto"):
    """A Load Reference node."""
    return node(
        "DreamAudioLoadReference", audio=audio, caption=caption, strength=strength, start=start
    )


_SOUND = {
    **{"gain": 0.0, "pan": 0.0, "fade_in": 0.0, "fade_out": 0.0},
    **{"trim": "silence", "begin": 0.0, "end": 0.0},
}
DEFAULTS = {
    "DreamAudioLoadReference": _SOUND,
    "DreamAudioReferenceFromAudio": _SOUND,
    "DreamAudioSaveAudio": {"level": "as is"},
    "DreamAudioReferenceDetail": {"detail": -1.0, "sample_rate": "auto"},
}


def node(class_type, **inputs):
    """One node, what is not given at its default."""
    return {"class_type": class_type, "inputs": {**DEFAULTS.get(class_type, {}), **inputs}}


def use_as_reference(graph, source, caption="a bell", start="auto"):
    """Add `from_audio`, which makes a reference of the sound of node `source`, to `captions`."""
    graph["from_audio"] = node(
        "DreamAudioReferenceFromAudio",
        audio=[source, 0],
        caption=caption,
        strength=1.0,
        start=start,
    )
    graph["captions"]["inputs"]["references.reference0"] = ["from_audio", 0]


def detail(audio="vocode", **changes):
    """Reference Detail of the usual graph, of the sound of node `audio`."""
    return node(
        "DreamAudioReferenceDetail",
        model=["model", 0],
        audio=[audio, 0],
        mel=["decode", 0],
        arrangement=["arrange", 0],
        **changes,
    )


def sampler(**changes):
    """A sampler with few steps that reads nodes `model` and `captions`."""
    settings = {
        "model": ["model", 0],
        "conditioning": ["captions", 0],
        "arrangement": ["arrange", 0],
        "seed": 1,
        "steps": 3,
        "guidance": 2.0,
        "reference_guidance": 2.0,
        "solver": "ab2",
        "shift": 1.0,
        "batch_size": 1,
        "variation": 0.0,
        "denoise": 1.0,
    }
    return node("DreamAudioMRCFlowSampler", **{**settings, **changes})


def scene(
    references=1,
    prompt="a crow caws then a cash register rings",
    model=MODEL,
    prefix="scene",
    seconds=SECONDS,
    missing="auto",
    **sampling,
):
    """Model, references, captions, arrangement, sampler, decoder, vocoder and Save Audio (as wav);
    the usual graph.
    """
    sounds = [
        ("dreamaudio_crow.flac", "a crow caws"),
        ("dreamaudio_cash_register.flac", "a cash register rings"),
        ("dreamaudio_guitar.flac", "a guitar plays"),
    ]
    graph = {
        "model": node("DreamAudioLoadModel", model_name=model, dtype="auto"),
        "captions": node(
            "DreamAudioEncodeCaption", model=["model", 0], prompt=prompt, negative_prompt=""
        ),
        "arrange": node(
            "DreamAudioArrangeReferences",
            model=["model", 0],
            conditioning=["captions", 0],
            seconds=seconds,
            missing=missing,
            timeline="",
        ),
        "sampler": sampler(**sampling),
        "decode": node("DreamAudioVAEDecode", model=["model", 0], latent=["sampler", 0]),
        "vocode": node("DreamAudioBigVGANVocode", model=["model", 0], mel=["decode", 0]),
        "save": node(
            "DreamAudioSaveAudio",
            audio=["vocode", 0],
            filename_prefix=f"test/{prefix}",
            format="wav",
        ),
    }
    for k in range(references):
        graph[f"reference{k}"] = reference(*sounds[k])
        graph["captions"]["inputs"][f"references.reference{k}"] = [f"reference{k}", 0]
    return graph
