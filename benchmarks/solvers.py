"""How few evaluations of mini give what Euler gives with 50.

    python benchmarks/solvers.py [--json] [--seconds S]

Latents of twelve scenes (references in turn, references over each other, left to the network, a
reference and a sound without one, a prompt alone, sounds of the starter library) are compared with
those of Heun's rule with 400 evaluations at even times: root mean square of the difference over
that of the latents. The ratio is the mean of `abm` with twelve eased steps over that of Euler with
50.
"""

from __future__ import annotations

from statistics import fmean

from harness import Result, Stopwatch, parser, report
from torch import Tensor

from dreamaudio_core import DreamAudio, SamplingConfig, load_model, load_reference
from dreamaudio_core.scene.starter import starter_sounds

SEEDS = (11,)
# Prompt, starter sounds by the names of their files, what becomes of missing parts, and whether the
# network places the references. Some of these scenes helped to choose the schedule.
SCENES: tuple[tuple[str, tuple[str, ...], str, bool], ...] = (
    ("a crow caws, then a cash register rings, and at the end the crow caws again",
     ("misc_crow", "perc_till"), "auto", False),
    ("a crow caws while a guitar plays", ("misc_crow", "guit_harmonics"), "auto", False),
    ("a guitar plays, then thunder rolls", ("guit_harmonics",), "generate", False),
    ("a dog barks in the rain", (), "generate", False),
    ("glass clinks, then a frog croaks and after that a camera clicks",
     ("glass_clink", "frog", "camera"), "auto", False),
    ("a coin drops, a bell rings, then a coin drops again", ("coin", "perc_bell"), "auto", False),
    ("an engine runs while a siren wails and someone hammers on metal",
     ("engine", "siren", "metal_clang"), "auto", False),
    ("wind blows while a gate opens", ("wind", "gate_open"), "auto", False),
    ("a siren wails while rain falls", ("siren", "rain_roof"), "auto", True),
    ("birds sing in a forest", (), "generate", False),
    ("water flows and a bell rings", (), "generate", False),
    ("fireworks explode while people applaud", (), "library", False),
)  # fmt: skip
EVEN = {"solver": "ab2", "shift": 1.0, "ease": 0.0}
EASED = {"solver": "abm", "shift": 1.0, "ease": 0.5}
# Name, steps (Heun evaluates twice a step), and how.
WAYS: tuple[tuple[str, int, dict], ...] = (
    ("euler 50", 50, {**EVEN, "solver": "euler"}),
    ("abm eased 12", 12, EASED),
    ("abm eased 8", 8, EASED),
    ("abm even 12", 12, {**EVEN, "solver": "abm"}),
    ("ab2 eased 12", 12, {**EASED, "solver": "ab2"}),
    ("ab2 even 12", 12, EVEN),
    ("ab2 even 24", 24, EVEN),
    ("heun even 12", 6, {**EVEN, "solver": "heun"}),
)


class Scenes:
    """The scenes, ready to be sampled."""

    def __init__(self, model: DreamAudio, seconds: float):
        self.model = model
        sounds = {sound.path.stem: sound for sound in starter_sounds()}
        self.given = []
        for prompt, names, missing, free in SCENES:
            given = [load_reference(sounds[name].path, sounds[name].caption) for name in names]
            references, left = model.add_library_sounds(prompt, given, missing)
            conditioning = model.condition(prompt, references)
            arrangement = model.arrange(conditioning, seconds, missing=left, free=free)
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
    euler = distances(scenes.sample(own.override(steps=50, **WAYS[0][2])), exact)
    mean, details = {}, {}
    for name, steps, how in WAYS:
        found = distances(scenes.sample(own.override(steps=steps, **how)), exact)
        mean[name] = fmean(found)
        nearer = sum(a <= b for a, b in zip(found, euler))
        details[name] = f"{mean[name]:.4f}, as near as euler 50 in {nearer} of {len(found)}"
    title = "mini: abm with 12 evaluations against Euler with 50 (distance to 400)"
    report(args, Result(title, mean["abm eased 12"] / mean["euler 50"], 1.0, "", details))


if __name__ == "__main__":
    main()
