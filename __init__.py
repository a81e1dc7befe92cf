"""DreamAudio for ComfyUI: customized text-to-audio generation."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Entry point that ComfyUI calls; the nodes are imported here so that other tools can import
    the package without it.
    """
    from .nodes import DreamAudioExtension

    return DreamAudioExtension()
