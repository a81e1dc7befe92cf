"""Whole evaluations of folders and test sets: pairing, bad input, resuming, reports and the command
line.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.audio.resample import resample
from dreamaudio_core.errors import AudioError, DreamAudioError, InputError
from dreamaudio_core.evaluation import cli, ctta, evaluate, report
from dreamaudio_core.evaluation.clips import inspect_clip
from dreamaudio_core.evaluation.evaluate import Options, Weights
from dreamaudio_core.evaluation.feature_cache import FeatureCache
from dreamaudio_core.evaluation.metrics.fad import frechet_distance
from dreamaudio_core.evaluation.metrics.kl import kl_divergence
from dreamaudio_core.evaluation.pairs import Policy, pair_folders
from dreamaudio_core.networks import cnn14 as panns
from dreamaudio_core.networks import vggish
from dreamaudio_core.scene.scene_files import read_scenes

ROOT = Path(dreamaudio_core.__file__).parents[1]
EXAMPLES = ROOT / "dreamaudio_core" / "examples"
RATE = 16_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    """Weight files of narrow networks in the public layouts."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(vggish.VGGish((4, 4, 6, 6, 8, 8), 16, 8).state_dict(), folder / "vggish.pth")
    state = {k: v for k, v in panns.Cnn14(width=4, classes=10).state_dict().items() if k != "mel"}
    torch.save({"model": state}, folder / "cnn14.pth")
    return Weights(folder / "vggish.pth", folder / "cnn14.pth")


@functools.cache
def sounds() -> dict[str, torch.Tensor]:
    """The example sounds by name, two seconds each."""
    return {p.stem: read_audio(p)[: 2 * RATE] for p in sorted(EXAMPLES.glob("*.flac"))}


def write(folder: Path, clips: dict[str, torch.Tensor], rate: int = RATE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, waveform in clips.items():
        soundfile.write(folder / f"{name}.wav", waveform.numpy(), rate, subtype="FLOAT")
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Targets, and generated clips that are the targets with noise."""
    target = write(tmp_path / "target", sounds())
    torch.manual_seed(1)
    generated = write(
        tmp_path / "generated",
        {k: 0.5 * v + 0.02 * torch.randn_like(v) for k, v in sounds().items()},
    )
    return generated, target


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Scores


def test_scores_are_those_of_the_parts(folders, weights):
    generated, target = folders
    found = evaluate.evaluate(generated, target, weights=weights)
    assert set(found.scores) == {"fad", "kl_softmax", "kl_sigmoid"}
    features = {}
    for extractor in (vggish.VGGishExtractor(weights.vggish), panns.Cnn14Extractor(weights.cnn14)):
        for side in folders:
            clips = [read_audio(p) for p in sorted(side.glob("*.wav"))]
            features[extractor.name, side] = extractor.extract(clips)
    fad = frechet_distance(*(np.concatenate(features["vggish", side]) for side in folders))
    assert found.scores["fad"] == pytest.approx(fad, rel=1e-6)
    kl = kl_divergence(np.stack(features["cnn14", target]), np.stack(features["cnn14", generated]))
    assert found.scores["kl_softmax"] == pytest.approx(kl.mean(), rel=1e-6)
    assert [found.clips[s]["kl_softmax"] for s in sorted(sounds())] == pytest.approx(
        list(kl), rel=1e-6
    )
    patches = sum(map(len, features["vggish", target]))
    assert patches <= 8 and any(
        f"FAD: {patches} patches for a covariance of 8" in note for note in found.notes
    )
    assert str(weights.vggish) in found.weights["vggish"]


def test_perfect_output_scores_perfectly(folders, weights):
    _, target = folders
    found = evaluate.evaluate(target, target, weights=weights)
    assert found.scores["fad"] == pytest.approx(0, abs=1e-8)
    assert abs(found.scores["kl_softmax"]) < 1e-4


def test_silent_output_counts(folders, weights):
    generated, target = folders
    write(generated, {"crow": torch.zeros(2 * RATE)})
    assert set(evaluate.evaluate(generated, target, weights=weights).clips) == set(sounds())


# What can be asked for


@pytest.mark.parametrize(
    ("metrics", "kw", "message"),
    [
        (["fad"], {}, "fad needs weights, give --vggish; .*torchvggish"),
        (["kl"], {}, "--cnn14; .*zenodo"),
        (["clap"], {}, "--clap; .*huggingface.co/laion"),
        (["pq"], {}, "--aesthetics; .*facebook/audiobox"),
        (["nonsense"], {}, "nonsense"),
        (None, {}, "no metric can be computed"),
    ],
)
def test_metrics_without_weights_say_where_they_are_published(metrics, kw, message, folders):
    with pytest.raises(InputError, match=message) as error:
        evaluate.evaluate(*folders, metrics=metrics)
    one_line(error)


def test_metrics_without_targets_or_prompts_are_refused(folders, weights):
    with pytest.raises(InputError, match="fad compares with targets"):
        evaluate.evaluate(folders[0], weights=weights, metrics=["fad"])
    with pytest.raises(InputError, match="clap compares with prompts"):
        evaluate.evaluate(*folders, weights=Weights(clap="some/model"), metrics=["clap"])


# Bad input


def test_unpaired_clips_are_named_counted_and_skipped_on_request(folders, weights):
    generated, target = folders
    write(generated, {"extra": sounds()["crow"]})
    (target / "guitar.wav").unlink()
    with pytest.raises(
        InputError, match="2 generated clips have no counterpart.*extra.wav, guitar.wav.*--unpaired"
    ):
        evaluate.evaluate(generated, target, weights=weights)
    found = evaluate.evaluate(
        generated, target, weights=weights, options=Options(policy=Policy(unpaired="skip"))
    )
    assert list(found.clips) == ["cash_register", "crow"]
    assert any("skipped: extra.wav, guitar.wav" in note for note in found.notes)


def test_damaged_clips_are_named_counted_and_skipped_on_request(folders, weights):
    generated, target = folders
    write(
        generated,
        {"crow": torch.full((RATE,), torch.nan), "dog": sounds()["crow"], "cat": torch.zeros(0)},
    )
    write(target, {"dog": sounds()["crow"], "cat": sounds()["crow"]})
    (generated / "dog.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(InputError, match="3 clips cannot be used.*--bad-audio skip") as error:
        pair_folders(generated, target)
    for name, reason in (("crow", "NaN"), ("dog", "decoded"), ("cat", "no samples")):
        assert name in one_line(error) and reason in one_line(error)
    found = pair_folders(generated, target, Policy(bad_audio="skip"))
    assert found.stems == ("cash_register", "guitar")
    assert set(found.target) == set(found.generated) == set(found.stems)
    assert "3 clips cannot be used, skipped" in found.notes[0]


def test_mixed_rates_are_refused_skipped_or_resampled(folders, weights):
    generated, target = folders
    write(generated, {"crow": resample(sounds()["crow"], RATE, 44_100)}, 44_100)
    with pytest.raises(
        InputError, match=r"1 generated clips.*usual 16000 Hz: crow.wav \(44100 Hz\).*--mixed-rates"
    ):
        pair_folders(generated, target)
    assert pair_folders(generated, target, Policy(mixed_rates="skip")).stems == (
        "cash_register",
        "guitar",
    )
    kept = pair_folders(generated, target, Policy(mixed_rates="resample"))
    assert len(kept.stems) == 3 and "resampled: crow.wav" in kept.notes[0]
    options = Options(policy=Policy(mixed_rates="resample"))
    resampled = evaluate.evaluate(generated, target, weights=weights, options=options)
    write(generated, {"crow": sounds()["crow"]})
    plain = evaluate.evaluate(generated, target, weights=weights)
    assert resampled.clips["crow"]["kl_softmax"] == pytest.approx(
        plain.clips["crow"]["kl_softmax"], abs=0.01
    )


def test_empty_and_missing_folders_are_refused(folders, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no sound")
    for folder, message in (
        (tmp_path / "empty", "no sound files"),
        (tmp_path / "absent", "found nothing"),
    ):
        with pytest.raises(InputError, match=message) as error:
            evaluate.evaluate(folder, folders[1], weights=weights)
        assert str(folder) in one_line(error)
        with pytest.raises(InputError, match=message):
            evaluate.evaluate(folders[0], folder, weights=weights)


def test_one_clip_has_no_covariance(tmp_path, weights):
    folder = write(tmp_path / "one", {"crow": sounds()["crow"]})
    with pytest.raises(InputError, match="FAD needs at least 2 clips.*found 1"):
        evaluate.evaluate(folder, folder, weights=weights)
    found = evaluate.evaluate(folder, folder, weights=weights, metrics=["kl"])
    assert set(found.scores) == {"kl_softmax", "kl_sigmoid"}


def test_nothing_in_common_is_refused(tmp_path, weights):
    a, b = (write(tmp_path / n, {n: sounds()["crow"]}) for n in "ab")
    with pytest.raises(InputError, match="no clips are left to score"):
        evaluate.evaluate(a, b, weights=weights, options=Options(policy=Policy(unpaired="skip")))


def test_equal_stems_and_batches_of_none_are_refused(folders):
    generated, _ = folders
    soundfile.write(generated / "crow.flac", sounds()["crow"].numpy(), RATE)
    with pytest.raises(InputError, match="crow.flac and crow.wav have the same stem"):
        pair_folders(generated)
    with pytest.raises(InputError, match="batch_size"):
        Options(batch_size=0)


# Resuming


class Counting:
    """An extractor that counts clips and fails after a number of them."""

    name, digest, sample_rate, source = "counting", "0" * 64, RATE, "nowhere"

    def __init__(self, fail_after: int = 1000):
        self.seen = 0
        self.fail_after = fail_after

    def extract(self, waveforms):
        self.seen += len(waveforms)
        if self.seen > self.fail_after:
            raise KeyboardInterrupt
        return [np.array([float(w.square().mean())]) for w in waveforms]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(folders, tmp_path):
    clips = [inspect_clip(p) for folder in folders for p in sorted(folder.glob("*.wav"))]
    cache = FeatureCache(tmp_path / "cache")
    first = Counting(fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        cache.features(clips, first, batch_size=2)
    second = Counting()
    found = cache.features(clips, second, batch_size=2)
    assert second.seen == 2
    fresh = FeatureCache(tmp_path / "other").features(clips, Counting(), batch_size=6)
    np.testing.assert_allclose(found, fresh, rtol=1e-6, atol=1e-6)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_features_belong_to_content_and_weights(folders, tmp_path):
    generated, _ = folders
    cache = FeatureCache(tmp_path / "cache")
    clip = inspect_clip(generated / "crow.wav")
    cache.features([clip], Counting())
    renamed = generated / "renamed.wav"
    (generated / "crow.wav").rename(renamed)
    unchanged = Counting()
    cache.features([inspect_clip(renamed)], unchanged)
    assert unchanged.seen == 0
    other = Counting()
    other.digest = "1" * 64
    cache.features([inspect_clip(renamed)], other)
    assert other.seen == 1
    write(generated, {"renamed": sounds()["guitar"]})
    changed = Counting()
    cache.features([inspect_clip(renamed)], changed)
    assert changed.seen == 1


def test_damaged_cache_entries_are_computed_again(folders, tmp_path):
    clip = inspect_clip(folders[0] / "crow.wav")
    cache = FeatureCache(tmp_path / "cache")
    expected = cache.features([clip], Counting())
    path = cache.path(clip, Counting())
    for content in (b"", path.read_bytes()[:-4], b"nonsense"):
        path.write_bytes(content)
        again = Counting()
        np.testing.assert_allclose(cache.features([clip], again), expected, rtol=1e-6, atol=1e-6)
        assert again.seen == 1


def test_features_that_are_not_finite_are_refused_and_not_kept(folders, tmp_path):
    class Broken(Counting):
        def extract(self, waveforms):
            return [np.array([np.nan]) for _ in waveforms]

    clip = inspect_clip(folders[0] / "crow.wav")
    cache = FeatureCache(tmp_path / "cache")
    with pytest.raises(AudioError, match="crow.wav.*not finite"):
        cache.features([clip], Broken())
    assert cache.load(clip, Broken()) is None


# Test sets


class Copying:
    """A system that returns its references one after another; counts what it makes."""

    name, sample_rate, identity = "copying", RATE, "1"

    def __init__(self):
        self.made: list[tuple[str, int]] = []

    def generate(self, prompt, references, seed):
        self.made.append((prompt, seed))
        parts = [read_audio(r.audio)[:RATE] for r in references]
        return (
            torch.cat(parts)
            if parts
            else 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(seed))
        )


def write_test_set(folder: Path, targets: bool = True) -> Path:
    write(folder / "references", sounds())
    names = sorted(sounds())
    write(folder / "targets", {f"t{i}": sounds()[name] for i, name in enumerate(names)})
    lines = []
    for i in range(3):
        references = [
            {"audio": f"references/{n}.wav", "caption": n.replace("_", " ")} for n in names[:i]
        ]
        target = f"targets/t{i}.wav" if targets else None
        lines.append(
            {
                "name": f"item {i}",
                "prompt": f"prompt {i}",
                "references": references,
                "target": target,
            }
        )
    (folder / "scenes.jsonl").write_text(
        "\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8"
    )
    return folder


def test_a_test_set_is_generated_and_scored(tmp_path, weights):
    data = write_test_set(tmp_path / "data" / "concatenation")
    generator = Copying()
    found = ctta.run_ctta(generator, tmp_path / "data", "concatenation", tmp_path / "out", weights)
    assert [p for p, _ in generator.made] == ["prompt 0", "prompt 1", "prompt 2"]
    assert len({seed for _, seed in generator.made}) == 3
    assert (
        set(found.evaluation.scores) == {"fad", "kl_softmax", "kl_sigmoid"}
        and len(found.evaluation.clips) == 3
    )
    made = read_audio(found.generated / "item 2.wav")
    assert (made[: RATE // 2] - sounds()["cash_register"][: RATE // 2]).abs().max() < 1e-4
    assert found.scenes == read_scenes(data)


def test_only_what_is_missing_or_changed_is_generated_again(tmp_path, weights):
    data = write_test_set(tmp_path / "data")
    first, second, third, fourth, fifth = (Copying() for _ in range(5))

    def run(generator, **kw):
        return ctta.run_ctta(
            generator, data, "overlay", tmp_path / "out", weights, **kw
        ).evaluation.scores

    before = run(first)
    assert run(second) == before and second.made == []
    (tmp_path / "out" / "generated" / "overlay" / "item 1.wav").unlink()
    assert run(third) == before and third.made == first.made[1:2]
    write(data / "references", {"crow": sounds()["guitar"]})
    run(fourth)
    assert [p for p, _ in fourth.made] == ["prompt 2"]
    run(fifth, seed=5)
    assert len(fifth.made) == 3 and fifth.made[0][1] != first.made[0][1]
    other = Copying()
    other.identity = "2"
    run(other, seed=5)
    assert len(other.made) == 3


def test_an_interrupted_generation_goes_on(tmp_path, weights):
    class Failing(Copying):
        def generate(self, prompt, references, seed):
            if prompt == "prompt 2":
                raise KeyboardInterrupt
            return super().generate(prompt, references, seed)

    data = write_test_set(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        ctta.run_ctta(Failing(), data, "overlay", tmp_path / "out", weights)
    rest = Copying()
    ctta.run_ctta(rest, data, "overlay", tmp_path / "out", weights)
    assert [p for p, _ in rest.made] == ["prompt 2"]


def test_a_set_without_targets_has_no_paired_metrics(tmp_path, weights):
    data = write_test_set(tmp_path / "data", targets=False)
    generator = Copying()
    with pytest.raises(InputError, match="fad compares with targets"):
        ctta.run_ctta(generator, data, "fantasy", tmp_path / "out", weights, ["fad"])
    assert generator.made == [], (
        "a request that cannot be met is refused before anything is generated"
    )


def test_output_that_is_no_sound_is_refused(tmp_path, weights):
    data = write_test_set(tmp_path / "data")
    for wrong in (torch.zeros(1, 100), torch.full((100,), torch.inf), torch.zeros(0), None):
        generator = Copying()
        generator.generate = lambda *_, wrong=wrong: wrong
        with pytest.raises(AudioError, match="copying: scene 'item"):
            ctta.run_ctta(generator, data, "overlay", tmp_path / "out", weights)
    assert not list((tmp_path / "out").rglob("*.wav"))


# Report and command line


def parse(*arguments, **kw) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers(required=True), **kw)
    return parser.parse_args([*map(str, arguments)])


def test_the_command_scores_systems_beside_the_paper(folders, weights, tmp_path, capsys):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    generated, target = folders
    (tmp_path / "prompts.json").write_text(
        json.dumps(dict.fromkeys(sounds(), "a | $sound")), encoding="utf-8"
    )
    rows = [
        "listener,position,item,system,ovl,rel",
        *(f"a,{i},{i},ours,{3 + i},4" for i in range(3)),
    ]
    (tmp_path / "ratings.csv").write_text("\r\n".join(rows), encoding="utf-8")
    args = parse(
        "evaluate",
        "folders",
        "--generated",
        f"ours={generated}",
        "--generated",
        f"same={target}",
        "--target",
        target,
        "--prompts",
        tmp_path / "prompts.json",
        "--vggish",
        weights.vggish,
        "--cnn14",
        weights.cnn14,
        "--test-set",
        "concatenation",
        "--out",
        tmp_path / "out",
        "--plots",
        "1",
        "--ratings",
        tmp_path / "ratings.csv",
    )
    assert args.run(args) == 0
    out = tmp_path / "out"
    found = json.loads((out / "report-concatenation.json").read_text(encoding="utf-8"))
    found = found["sections"][0]
    ours, same = found["systems"]
    expected = evaluate.evaluate(generated, target, weights=weights)
    assert (
        ours["scores"]["fad"] == pytest.approx(expected.scores["fad"])
        and same["scores"]["fad"] < 1e-6
    )
    assert ours["scores"]["ovl"] == 4 and ours["per_clip"]["crow"].keys() == {
        "kl_softmax",
        "kl_sigmoid",
    }
    assert found["paper"]["DreamAudio-L"] == {"fad": 0.46, "kl": 0.92, "clap": 52.5, "clap_a": 87.7}
    text = (out / "report-concatenation.md").read_text(encoding="utf-8")
    assert "| DreamAudio (paper) |  | 0.50 | 0.90 |" in text
    assert f"| **ours** | 3 | {expected.scores['fad']:.2f} |" in text
    plot = out / "plots" / "concatenation" / "cash_register.png"
    assert "plots/concatenation/cash_register.png" in text and plot.read_bytes().startswith(
        b"\x89PNG"
    )
    assert "ours" in capsys.readouterr().out


def test_every_row_of_the_table_has_every_column(folders, weights):
    found = evaluate.evaluate(*folders, weights=weights, name="a|b [c]")
    found.scores["kl_sigmoid"] = -1e-4
    lines = report.report_markdown([report.Section("overlay", [found])]).splitlines()
    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert not any("-0.00" in line for line in table)
    assert len(table) == 2 + 3 + 1 and len({line.count("|") for line in table}) == 1


def test_scores_that_are_not_finite_are_not_reported(folders, weights, tmp_path):
    found = evaluate.evaluate(*folders, weights=weights)
    found.scores["fad"] = float("nan")
    with pytest.raises(InputError, match="fad of ours is nan"):
        report.write_report(tmp_path / "out", [report.Section(None, [found])])
    assert not (tmp_path / "out").exists()


def test_the_command_generates_and_scores(tmp_path, weights, capsys):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    write_test_set(tmp_path / "data" / "overlay")
    asked = {}

    def load(name, **options):
        asked.update(name=name, **options)
        return Copying()

    args = parse(
        "evaluate",
        "ctta",
        "--model",
        "mini",
        "--test-set",
        "overlay",
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "out",
        "--vggish",
        weights.vggish,
        "--limit",
        "2",
        "--steps",
        "3",
        "--plots",
        "2",
        load_generator=load,
    )
    assert args.run(args) == 0
    assert asked == {"name": "mini", "device": "cpu", "steps": 3}
    text = (tmp_path / "out" / "report-overlay.md").read_text(encoding="utf-8")
    assert "| **copying** | 2 |" in text
    assert "![item 1: prompt 1](<plots/overlay/item 1.png>)" in text


def test_reports_of_several_test_sets_lie_side_by_side(folders, weights, tmp_path):
    found = evaluate.evaluate(*folders, weights=weights)
    for test_set in ("overlay", "concatenation", None):
        report.write_report(tmp_path, [report.Section(test_set, [found])])
    texts = {path.name: path.read_text() for path in tmp_path.glob("*.md")}
    assert set(texts) == {"report.md", "report-overlay.md", "report-concatenation.md"}
    assert "## Overlay" in texts["report-overlay.md"] and "## Clips" in texts["report.md"]
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_a_device_that_is_not_there_is_named(tmp_path):
    for device in ("xyz", *(() if torch.cuda.is_available() else ("cuda",))):
        args = parse(
            "evaluate",
            "folders",
            "--generated",
            tmp_path,
            "--out",
            tmp_path / "out",
            "--device",
            device,
        )
        with pytest.raises(InputError, match=f"device: '{device}' cannot be used"):
            args.run(args)


def test_mistakes_are_told_before_a_model_is_loaded(tmp_path):
    args = parse(
        "evaluate",
        "ctta",
        "--model",
        "mini",
        "--test-set",
        "overlay",
        "--data",
        tmp_path,
        "--out",
        tmp_path / "out",
        load_generator=lambda *_, **__: pytest.fail("a model was loaded"),
    )
    with pytest.raises(DreamAudioError, match="scenes.jsonl"):
        args.run(args)
    write_test_set(tmp_path)
    with pytest.raises(DreamAudioError, match="no metric can be computed"):
        args.run(args)


def test_importing_the_command_line_needs_no_optional_package():
    blocked = (
        "PIL",
        "scipy",
        "librosa",
        "torchlibrosa",
        "audiobox_aesthetics",
        "selenium",
        "pandas",
    )
    code = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    code += "import dreamaudio_core.evaluation.cli, dreamaudio_core.networks.aesthetics\n"
    code += "assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
