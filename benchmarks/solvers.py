"""How few evaluations of mini give what Euler gives with 50.

    python benchmarks/solvers.py [--json] [--seconds S]

Latents of four scenes (references in turn, references over each other, a reference and a sound
without one, a prompt alone), two seeds each, are compared with those of Heun's rule with 400
evaluations at even times: root mean square of the difference over that of the latents. The ratio is
the mean of eased times with twelve evaluations over that of Euler with 50.
"""

from __future__ import annotations

from statistics import fmean

from harness import Result, Stopwatch, parser, report
from torch import Tensor

from dreamaudio_core import DreamAudio, SamplingConfig, load_model, load_reference
from dreamaudio_core.scene.starter import starter_sounds

SEEDS = (1, 2)
EXAMPLES = {
    "crow": "a crow is cawing",
    "cash_register": "the sound of a cash register",
    "guitar": "someone plays guitar harmonics",
}
SCENES = (
    ("a crow caws, then a cash register rings, and at the end the crow caws again",
     ("crow", "cash_register"), "auto"),
    ("a crow caws while a guitar plays", ("crow", "guitar"), "auto"),
    ("a guitar plays, then thunder rolls", ("guitar",), "generate"),
    ("a dog barks in the rain", (), "generate"),
)  # fmt: skip
EASED = {"solver": "ab2", "shift": 2.0, "ease": 0.7}
EVEN = {"solver": "ab2", "shift": 1.0, "ease": 0.0}
# Name, steps (Heun evaluates twice a step), and how.
WAYS: tuple[tuple[str, int, dict], ...] = (
    ("euler 50", 50, {**EVEN, "solver": "euler"}),
    ("eased 12", 12, EASED),
    ("even 12", 12, EVEN),
    ("heun 12", 6, {**EVEN, "solver": "heun"}),
    ("eased 8", 8, EASED),
    ("even 24", 24, EVEN),
    ("eased 24", 24, EASED),
)


class Scenes:
    """The scenes, ready to be sampled."""

    def __init__(self, model: DreamAudio, seconds: float):
        self.model = model
        folder = starter_sounds()[0].path.parents[1] / "examples"
        sounds = {
            name: load_reference(folder / f"{name}.flac", caption)
            for name, caption in EXAMPLES.items()
        }
        self.given = []
        for prompt, names, missing in SCENES:
            conditioning = model.condition(prompt, [sounds[name] for name in names])
            arrangement = model.arrange(conditioning, seconds, missing=missing)
            self.given.append((conditioning, arrangement))

    def sample(self, settings: SamplingConfig) -> list[Tensor]:
        """Latents of each scene."""
        return [self.model.sample(*given, SEEDS, settings) for given in self.given]


def distances(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Relative root mean square difference of each scene."""
    pairs = zip(found, exact)
    return [float(((a - b).square().mean() / b.square().mean()).sqrt()) for a, b in pairs]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=2.56)
    args = options.parse_args()
    watch = Stopwatch(args)
    model = load_model("mini", device=watch.device)
    scenes, own = Scenes(model, args.seconds), model.config.sampling
    exact = scenes.sample(own.override(steps=200, **{**EVEN, "solver": "heun"}))
    mean, details = {}, {}
    for name, steps, how in WAYS:
        found = distances(scenes.sample(own.override(steps=steps, **how)), exact)
        mean[name] = fmean(found)
        details[name] = " ".join(f"{value:.4f}" for value in found)
    title = "mini: eased times, 12 evaluations, against Euler with 50 (distance to 400)"
    report(args, Result(title, mean["eased 12"] / mean["euler 50"], 1.0, "", details))


if __name__ == "__main__":
    main()
