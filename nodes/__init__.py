"""The pack's nodes, one module a topic."""

from comfy_api.latest import ComfyExtension, io

from . import (
    arranging,
    codec,
    conditioning,
    detail,
    files,
    loaders,
    output,
    preview,
    references,
    retrieval,
    routes,
    sampling,
    scene,
    scenes,
    video,
)


class DreamAudioExtension(ComfyExtension):
    """What ComfyUI registers."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        files.register_model_folder()
        files.offer_examples()
        routes.register()
        return [
            *scene.NODES,
            *loaders.NODES,
            *references.NODES,
            *retrieval.NODES,
            *conditioning.NODES,
            *arranging.NODES,
            *sampling.NODES,
            *codec.NODES,
            *detail.NODES,
            *output.NODES,
            *preview.NODES,
            *scenes.NODES,
            *video.NODES,
        ]
