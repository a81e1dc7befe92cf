"""Generation with the preset dreamaudio (277.6 M random weights, 10.24 s, three references,
guidance 2.0, 25 steps, VAE, vocoder) against a plain loop over the same weights, which asks the
network twice a step for guidance and computes references, keys and values again each time, all in
PyTorch's usual layers.

    python benchmarks/generation_naive.py [--json] [--threads N] [--device cuda]

Every stage is timed side by side; the whole is 25 steps and the stages that run once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from harness import Result, Stopwatch, parser, report, require_equal
from torch import Tensor, nn

from dreamaudio_core.arranging import Tokens
from dreamaudio_core.config import PRESETS, SamplingConfig
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.operations import FAST, arrange_weights, plain_layers
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import ArrangedReference, Arrangement
from dreamaudio_core.text_stages import Conditioning

STEPS, GUIDANCE = 25, 2.0
CAPTIONS = ("a crow caws", "a bell rings", "rain falls")


def random_network(build, config, device: torch.device) -> nn.Module:
    """A network in which no branch is silent, as those that start at zero are."""
    torch.manual_seed(0)
    network = build(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.02)
    return network.to(device)


def fast(build, plain: nn.Module, device: torch.device) -> nn.Module:
    """Ours, as `load_model` makes it, with the weights of a plain one."""
    with torch.device("meta"):
        network = build(plain.config, FAST)
    network.load_state_dict(copy.deepcopy(plain.state_dict()), assign=True)
    return arrange_weights(network.eval().requires_grad_(False), device)


@dataclass
class Sides:
    """The model both ways, and what to generate."""

    ours: DreamAudio
    plain: DreamAudio
    conditioning: Conditioning
    arrangement: Arrangement


def build(device: torch.device) -> Sides:
    """Both models with the same weights; texts are random features, as their encoder is not
    compared.
    """
    config = PRESETS["dreamaudio"]
    parts = {
        "flow": (MRCUNet, config.mrc),
        "vae": (AutoencoderKL, config.vae),
        "vocoder": (BigVGAN, config.vocoder),
    }
    plain = {name: random_network(*part, device) for name, part in parts.items()}
    ours = {name: fast(parts[name][0], network, device) for name, network in plain.items()}
    models = [DreamAudio(config, None, device=device, **made) for made in (ours, plain)]
    generator = torch.Generator().manual_seed(1)
    length, dim = config.text.max_tokens, config.text.dim

    def tokens(*lengths: int) -> Tokens:
        features = torch.randn(len(lengths), length, dim, generator=generator)
        mask = torch.arange(length) < torch.tensor(lengths)[:, None]
        return Tokens(features, mask)

    def one(count: int) -> Tokens:
        return Tokens(*(x[0] for x in tokens(count)))

    sounds = [torch.randn(2 * 16_000, generator=generator) * 0.1 for _ in CAPTIONS]
    references = tuple(
        prepare_reference(sound[None], 16_000, caption) for sound, caption in zip(sounds, CAPTIONS)
    )
    conditioning = Conditioning(
        "a prompt", references, one(16), one(1), one(1), tokens(*[6] * len(CAPTIONS))
    )
    arranged = tuple(ArrangedReference(c, True, None) for c in CAPTIONS)
    return Sides(*models, conditioning, Arrangement(config.seconds, arranged, "generate"))


class NaiveLoop:
    """Euler steps as one would first write them."""

    def __init__(self, sides: Sides, references: Tensor):
        model, texts = sides.plain, sides.conditioning
        self.network, device = model.flow, model.device
        silent = model.silence.expand(references.shape[1:]).expand_as(references)
        captions, empty = texts.caption_tokens, texts.empty_tokens
        self.rows = [
            self._row(texts.prompt_tokens, captions, references, device),
            self._row(
                texts.negative_tokens,
                Tokens(*(x.expand(len(references), *x.shape) for x in empty)),
                silent,
                device,
            ),
        ]

    @staticmethod
    def _row(prompt: Tokens, captions: Tokens, references: Tensor, device) -> dict[str, Tensor]:
        row = {
            "prompt": prompt.features,
            "prompt_mask": prompt.mask,
            "captions": captions.features,
            "caption_mask": captions.mask,
            "references": references,
        }
        return {name: value[None].to(device) for name, value in row.items()}

    def step(self, z: Tensor, time: float, size: float) -> Tensor:
        """One step of size `size` from `time` on."""
        lam = torch.full((len(z),), time, device=z.device)
        with plain_layers():
            given, none = (self.network(z, lam, **row) for row in self.rows)
        return z + size * (none + GUIDANCE * (given - none))


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    args = options.parse_args()
    watch = Stopwatch(args)
    sides = build(watch.device)
    ours, plain = sides.ours, sides.plain
    given = (sides.conditioning, sides.arrangement)
    slots = ours.encode_references(sides.conditioning.references, sides.arrangement)
    naive = NaiveLoop(sides, slots.latents)
    noise = torch.randn(
        1, *ours.config.latent_shape(), generator=torch.Generator().manual_seed(0)
    ).to(watch.device)

    def sample(steps: int) -> Tensor:
        settings = SamplingConfig(steps=steps, solver="euler", guidance=GUIDANCE)
        return ours.sample(*given, (0,), settings, reference_slots=slots)

    def loop(steps: int) -> Tensor:
        z = noise
        for step in range(steps):
            z = naive.step(z, step / steps, 1.0 / steps)
        return z

    latents = sample(2)
    difference = require_equal(latents, loop(2))
    # The context is computed in the first of our steps: two lengths tell it from a step.
    one, three, naive_step = watch.medians(
        lambda: sample(1), lambda: sample(3), lambda: naive.step(noise, 0.5, 0.1)
    )
    step = (three - one) / 2
    mel = ours.decode(latents).clamp(-11.5, 3.0)

    def finish(model: DreamAudio) -> Tensor:
        model.decode(latents)
        return model.vocode(mel)

    def plainly(call, *values):
        with plain_layers():
            return call(*values)

    difference = max(difference, require_equal(finish(ours), plainly(finish, plain)))
    encode = (sides.conditioning.references, sides.arrangement)
    our_once, plain_once = watch.medians(
        lambda: (ours.encode_references(*encode), finish(ours)),
        lambda: plainly(lambda: (plain.encode_references(*encode), finish(plain))),
    )
    our_time = our_once + one + (STEPS - 1) * step
    naive_time = plain_once + STEPS * naive_step
    details = {
        "ours_s": round(our_time, 2),
        "naive_s": round(naive_time, 2),
        "step_s": round(step, 3),
        "naive_step_s": round(naive_step, 3),
        "once_s": round(our_once, 2),
        "naive_once_s": round(plain_once, 2),
        "loop_alone": round((one + (STEPS - 1) * step) / (STEPS * naive_step), 3),
        "difference": f"{difference:.0e}",
    }
    report(
        args, Result("dreamaudio, against a plain loop", our_time / naive_time, 0.55, "", details)
    )


if __name__ == "__main__":
    main()
