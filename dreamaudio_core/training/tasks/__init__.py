"""What can be trained. Another task is a subclass of `Task` and a line here."""

from ..task import Task
from .alignment_task import AlignmentTask
from .arranger_task import ArrangerTask
from .flow_task import FlowTask
from .vae_task import VAETask
from .vocoder_task import VocoderTask

TASKS: dict[str, type[Task]] = {
    "vae": VAETask,
    "vocoder": VocoderTask,
    "flow": FlowTask,
    "align": AlignmentTask,
    "arranger": ArrangerTask,
}
