"""From a configuration to steps: `dreamaudio` commands with what they write, cost and depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measures import Costs
from steps import Step, words_of

from dreamaudio_core.errors import InputError

RECIPE = Path(__file__).parent
STAGES = (
    "scan",
    "splits",
    "banks",
    "vocoder",
    "vae",
    "caches",
    "flow",
    "align",
    "tests",
    "evaluate",
    "listening",
    "tables",
)
COLLECTIONS = ("audiocaps", "wavcaps", "urbansound8k", "esc50")


class Plan:
    """All steps of a run.

    Parameters
    ----------
    config
        See paper.toml.
    work
        Folder of everything that is made.
    data
        Folder of each collection.
    sounds
        Folder of Debian packages with the sounds of the scenarios; fetched into WORK/sounds if
        None.
    presets
        Folder of configurations in place of the presets', for a rehearsal.
    """

    def __init__(
        self,
        config: dict[str, Any],
        work: Path,
        data: dict[str, Path],
        sounds: Path | None,
        presets: Path | None = None,
    ):
        self.config, self.work, self.data, self.sounds = config, work, data, sounds
        self._choose(config["run"]["only"])
        self.presets, self.costs = presets, Costs(config)
        self.scans = {name: work / "scans" / f"{name}.jsonl" for name in COLLECTIONS}
        self.bank = work / "bank" / "manifest.jsonl"
        self.library = work / "library.sqlite"
        self.parts = {name: work / "parts" / f"{name}.safetensors" for name in ("vae", "vocoder")}

    def _choose(self, only: list[str]) -> None:
        """Leave out the flow runs that are not among `only`, and what needs them."""
        runs, chosen = self.config["flow"], self.config["evaluation"]
        if unknown := [name for name in only if name not in runs]:
            raise InputError(f"run.only: {unknown[0]!r} is none of {', '.join(runs)}")
        runs = {name: run for name, run in runs.items() if not only or name in only}
        self.config["flow"] = runs
        chosen["also"] = {k: v for k, v in chosen["also"].items() if v[0] in runs}
        chosen["listening"] = [name for name in chosen["listening"] if name in runs]
        for values in self.config["systems"].values():
            _, ours, run = values["model"].rpartition("{models}/")
            if ours and run not in runs:
                values["model"] = ""

    def steps(self) -> list[Step]:
        """In the order of the stages."""
        return [step for stage in STAGES for step in getattr(self, f"_{stage}")()]

    def preset(self, name: str) -> str:
        """A preset, or what stands for it."""
        return name if self.presets is None else str(self.presets / name)

    def _text(self) -> list[str]:
        return ["--text-encoder", self.config["parts"]["text-encoder"]]

    # Data

    def _scan(self) -> Iterator[Step]:
        for name, options in self.config["scan"].items():
            out = self.scans[name]
            words = ["data", "scan", name, str(self.data[name]), "--out", str(out)]
            seconds = self.costs.sounds(name) * self.costs["scan"]
            yield Step("scan", name, words + words_of(options), None, [out], seconds)

    def _splits(self) -> Iterator[Step]:
        from splits import check_splits

        found = [self.work / "splits.json", self._training_clips()]

        def check() -> None:
            check_splits(self.scans, self.config["paper-clips"], *found)

        yield Step("splits", "splits", call=check, outputs=found, seconds=10)

    def _training_clips(self) -> Path:
        return self.work / "scans" / "audiocaps-train.jsonl"

    def _banks(self) -> Iterator[Step]:
        words = ["data", "build", *map(str, self.scans.values()), "--out", str(self.bank.parent)]
        seconds, size = self.costs.bank()
        yield Step("banks", "bank", words, None, [self.bank], seconds, size)
        if any(values.get("library") for values in self.config["sets"].values()):
            clips = str(self._training_clips())
            words = ["library", "add", clips, "--library", str(self.library)]
            count = self.costs.sounds("audiocaps")
            yield Step("banks", "library", words, None, [self.library], count * 0.1, count * 4e3)

    def _set_words(self, name: str, split: str) -> list[str]:
        """Words of `data cache` and `data compose` for a set of the bank."""
        values = self.config["sets"][name]
        known = ("dataset", "collections", "groups", "library", "scenarios", "train", "test")
        if unknown := sorted(set(values) - set(known)):
            raise InputError(
                f"sets.{name}: unknown field {unknown[0]!r}; known: {', '.join(known)}"
            )
        words = [values["dataset"], str(self.bank), "--split", split]
        words += words_of({k: values[k] for k in ("collections", "groups") if k in values})
        words += ["--count", str(values[split])]
        return words + (["--library", str(self.library)] if values.get("library") else [])

    # Parts

    def _vocoder(self) -> Iterator[Step]:
        return self._part("vocoder")

    def _vae(self) -> Iterator[Step]:
        return self._part("vae")

    def _part(self, part: str) -> Iterator[Step]:
        """Weights of a part, converted or trained."""
        source, out = self.config["parts"][part], self.parts[part]
        parameters = self.costs.parameters(part)
        if source:
            words = ["convert", source, "--out", str(out), "--part", part, "--overwrite"]
            yield Step(part, part, words, None, [out], 60, 4 * parameters)
            return
        options = self.config["train"][part]
        run, preset = self.work / "runs" / part, self.preset("dreamaudio")
        words = ["train", part, str(run), "--model", preset, "--bank", str(self.bank)]
        words += words_of(options) + self._device()
        seconds = options["steps"] * self.costs[f"{part}-step"]
        yield Step(
            part,
            part,
            words,
            self._keep(run, part, options["steps"], out),
            [out],
            seconds,
            *self.costs.checkpoints(parameters, options, 1),
        )

    def _device(self) -> list[str]:
        return ["--device", "cpu"] if self.config["run"]["device"] == "cpu" else []

    def _keep(self, run: Path, part: str, steps: int, out: Path) -> Callable[[], None]:
        from runner import keep_weights

        return lambda: keep_weights(run, part, steps, out)

    def _caches(self) -> Iterator[Step]:
        for name, values in self.config["sets"].items():
            if "train" not in values:
                continue
            out = self.work / "caches" / name
            words = ["data", "cache", *self._set_words(name, "train"), "--out", str(out)]
            words += ["--model", self.preset("dreamaudio"), "--vae", str(self.parts["vae"])]
            words += [*self._text(), "--device", self.config["run"]["device"]]
            count = values["train"]
            yield Step(
                "caches",
                name,
                words,
                None,
                [out / "origin.json"],
                count * self.costs["cache"],
                count * self.costs["item"],
            )

    def _cache_words(self, sets: list[str]) -> list[str]:
        words = []
        for name in sets:
            folder, _, count = name.partition(":")
            if "train" not in self.config["sets"].get(folder, {}):
                raise InputError(f"data: {name!r} is none of the sets with training items")
            path = str(self.work / "caches" / folder)
            words += ["--data", f"{path}:{count}" if count else path]
        return words

    # Networks

    def _flow(self) -> Iterator[Step]:
        for name, run in self.config["flow"].items():
            options = {**self.config["train"]["flow"], **run.get("options", {})}
            last = options.pop("steps")
            words = self._cache_words(run["data"]) + words_of(options)
            if "initial" in run:
                words += ["--initial", str(self._weights(run["initial"]))]
            yield from self._trained(
                "flow",
                "flow",
                name,
                run["preset"],
                words,
                options,
                [*run.get("milestones", []), last],
            )
            yield self._model("flow", name, run["preset"], self._weights(name))

    def _align(self) -> Iterator[Step]:
        values = self.config["align"]
        if not self._aligned():
            return
        words = self._cache_words(values["data"]) + words_of(values["options"])
        words += ["--initial", str(self._weights(values["initial"]))]
        words += ["--references", str(values["references"])]
        steps = values["milestones"]
        yield from self._trained(
            "align", "align", "align", values["preset"], words, values["options"], steps
        )
        for step, system in self._aligned().items():
            file = self.work / "runs" / "align" / f"flow-{step}.safetensors"
            yield self._model("align", system, values["preset"], file)

    def _aligned(self) -> dict[int, str]:
        """System of each milestone of the alignment."""
        values = self.config["align"]
        if values["initial"] not in self.config["flow"]:
            return {}
        names = values.get("names", values["milestones"])
        return {step: f"align-{name}" for step, name in zip(values["milestones"], names)}

    def _weights(self, run: str) -> Path:
        """Weights after the last step of a flow run."""
        values = self.config["flow"].get(run)
        if values is None:
            raise InputError(f"initial: {run!r} is none of the flow runs")
        steps = values.get("options", {}).get("steps", self.config["train"]["flow"]["steps"])
        return self.work / "runs" / run / f"flow-{steps}.safetensors"

    def _trained(
        self,
        stage: str,
        task: str,
        name: str,
        preset: str,
        words: list[str],
        options: dict[str, Any],
        milestones: list[int],
    ) -> Iterator[Step]:
        """A training, one step of the plan up to each milestone."""
        run = self.work / "runs" / name
        done = 0
        for steps in milestones:
            out = run / f"flow-{steps}.safetensors"
            given = ["train", task, str(run), "--model", self.preset(preset), *words]
            given += ["--steps", str(steps), *self._device()]
            amount = {**options, "steps": steps - done}
            yield Step(
                stage,
                f"{name} to step {steps:,}",
                given,
                self._keep(run, "flow", steps, out),
                [out],
                self.costs.training(preset, amount),
                *self.costs.checkpoints(
                    self.costs.parameters(preset), amount, steps == milestones[-1]
                ),
            )
            done = steps

    def _model(self, stage: str, system: str, preset: str, flow: Path) -> Step:
        """Model folder of a system."""
        folder = self.work / "models" / system
        words = ["assemble", self.preset(preset), "--out", str(folder), "--flow", str(flow)]
        for part, path in self.parts.items():
            words += [f"--{part}", str(path)]
        text = self.config["parts"]["text-encoder"]
        words += ["--text-encoder", text] if Path(text).is_dir() else []
        size = 4 * self.costs.parameters(preset)
        return Step(stage, f"model {system}", words, None, [folder / "config.json"], 30, size)

    # Test sets and evaluations

    def _tests(self) -> Iterator[Step]:
        sounds = self.sounds
        if sounds is None:
            sounds, listed = self.work / "sounds", RECIPE / "fantasy_sounds.txt"
            from runner import fetch_sounds

            yield Step(
                "tests", "sounds", [], lambda: fetch_sounds(sounds, listed), [sounds], 300, 3e9
            )
        for name, values in self.config["sets"].items():
            if "test" not in values:
                continue
            out = self.work / "test_sets" / name
            if "scenarios" in values:
                file = Path(values["scenarios"])
                words = [
                    "fantasy",
                    "--scenarios",
                    str(file if file.is_absolute() else RECIPE / file),
                ]
                words += ["--sounds", str(sounds), "--count", str(values["test"])]
            else:
                words = self._set_words(name, "test")
            count = values["test"]
            yield Step(
                "tests",
                name,
                ["data", "compose", *words, "--out", str(out)],
                None,
                [out / "scenes.jsonl"],
                count * self.costs["compose"],
                count * 4 * 10 * self.costs["bank-second"],
            )

    def evaluations(self) -> list[tuple[str, str, str]]:
        """(system, what `--model` takes, set) of everything that is scored."""
        chosen = self.config["evaluation"]
        models = self.work / "models"
        found = [
            (name, str(models / name), test)
            for name, run in self.config["flow"].items()
            for test in run.get("tests", chosen["tests"])
        ]
        found += [
            (system, str(models / system), self.config["align"]["test"])
            for system in self._aligned().values()
        ]
        found += [(name, str(models / run), test) for name, (run, test) in chosen["also"].items()]
        for name, values in self.config["systems"].items():
            model = values["model"].format(library=self.library, models=models)
            found += [(name, model, test) for test in values["tests"] if model]
        return found

    def _evaluate(self) -> Iterator[Step]:
        weights = {name: path for name, path in self.config["weights"].items() if path}
        for system, model, test in self.evaluations():
            values = self.config["sets"].get(test)
            if values is None:
                raise InputError(f"tests: {test!r} is none of the sets")
            kind = "fantasy" if "scenarios" in values else values["dataset"]
            out = self.work / "evaluation" / system
            words = ["evaluate", "ctta", "--model", model, "--test-set", kind]
            words += ["--data", str(self.work / "test_sets" / test), "--out", str(out)]
            words += words_of(weights) + self._settings(system)
            count = values["test"]
            yield Step(
                "evaluate",
                f"{system} on {test}",
                words,
                None,
                [out / f"report-{kind}.json"],
                count * self.costs["clip"],
                count * 10 * 2 * self.costs["bank-second"],
            )

    def _settings(self, system: str) -> list[str]:
        """Options of an evaluation; systems of others keep their own settings."""
        options = dict(self.config["evaluation"]["options"])
        own = system not in self.config["systems"]
        if not own:
            options = {k: v for k, v in options.items() if k in ("device", "steps")}
        text = self.config["parts"]["text-encoder"]
        named = self._text() if own and not Path(text).is_dir() else []
        return words_of(options) + named

    def _listening(self) -> Iterator[Step]:
        chosen = self.config["evaluation"]
        out = self.work / "listening.html"
        words = ["evaluate", "listening", "--out", str(out)]
        for system in chosen["listening"]:
            clips = self.work / "evaluation" / system / "generated" / "fantasy"
            words += ["--system", f"{system}={clips}"]
        words += ["--prompts", str(self.work / "test_sets" / "fantasy")]
        words += ["--count", str(chosen["scenarios"])]
        yield Step("listening", "page", words, None, [out], 10, 50e6)

    def _tables(self) -> Iterator[Step]:
        out = self.work / "tables"
        words = ["evaluate", "tables", "--out", str(out), "--plots"]
        for system in dict.fromkeys(system for system, *_ in self.evaluations()):
            folder = self.work / "evaluation" / system
            if any(folder.glob("report-*.json")):
                words += ["--system", f"{system}={folder}"]
        answers = sorted(map(str, (self.work / "ratings").glob("*.csv")))
        words += ["--ratings", *answers] if answers else []
        if self.presets is not None:
            words += ["--note", "A rehearsal on stand-ins: the figures mean nothing."]
        outputs = [out / "tables.md", out / "tables.json"]
        yield Step("tables", "tables", words, None, outputs, 10, always=True)
