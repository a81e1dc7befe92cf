"""Eight seeds of one scene in one call against eight calls, with mini.

    python benchmarks/eight_seeds.py [--json] [--seconds S]

In one call texts and references are encoded once, and the network takes all seeds as a batch.
"""

from __future__ import annotations

from harness import Result, Stopwatch, parser, report, require_equal

from dreamaudio_core import load_model, load_reference
from dreamaudio_core.scene.starter import starter_sounds

SEEDS = tuple(range(8))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    options.add_argument("--seconds", type=float, default=5.12)
    args = options.parse_args()
    watch = Stopwatch(args)
    model = load_model("mini", device=watch.device)
    folder = starter_sounds()[0].path.parents[1] / "examples"
    references = [
        load_reference(folder / "crow.flac", "a crow is cawing"),
        load_reference(folder / "cash_register.flac", "the sound of a cash register"),
    ]

    def generate(seeds: tuple[int, ...]):
        prompt = "a crow caws, then a cash register rings"
        return model.generate(prompt, references, seeds=seeds, seconds=args.seconds)

    def one_by_one():
        return [generate((seed,)) for seed in SEEDS]

    together, alone = generate(SEEDS), one_by_one()
    difference = max(
        require_equal(together.latents[i], single.latents[0]) for i, single in enumerate(alone)
    )
    batch, singles = watch.medians(lambda: generate(SEEDS), one_by_one)
    details = {
        "batch_s": round(batch, 2),
        "singles_s": round(singles, 2),
        "difference": f"{difference:.0e}",
    }
    report(args, Result("eight seeds against eight calls", batch / singles, 0.75, "", details))


if __name__ == "__main__":
    main()
