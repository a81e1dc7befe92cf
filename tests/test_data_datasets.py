"""The paper's datasets: rules, determinism, counts, test sets on disk, caches and batches made of
them.
"""

import argparse
import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

from dreamaudio_core.data import latents
from dreamaudio_core.data.bank import PACKED_NAME, Bank, BankEntry, BankWriter, write_manifest
from dreamaudio_core.data.batches import Augmentation, join_batches, training_example
from dreamaudio_core.data.cli import add_parser as add_data
from dreamaudio_core.data.compose.config import ComposerConfig
from dreamaudio_core.data.datasets import (
    COUNTS,
    DATASETS,
    AudioCapsGeneral,
    Composed,
    CustomizedConcatenation,
    CustomizedOverlay,
    as_clause,
)
from dreamaudio_core.data.export import write_test_set
from dreamaudio_core.data.latents import LatentEncoder
from dreamaudio_core.data.shards import LatentShard
from dreamaudio_core.errors import InputError
from dreamaudio_core.evaluation.cli import add_parser as add_evaluate
from dreamaudio_core.loading import load_model
from dreamaudio_core.networks.fusion import ConcatFusion, PlacedFusion
from dreamaudio_core.retrieval import SoundLibrary
from dreamaudio_core.scene.scene_files import read_scenes
from dreamaudio_core.training.cli import add_parser as add_train
from dreamaudio_core.weights.checkpoint import read_safetensors, save_weights
from dreamaudio_core.weights.folder import read_config
from small_model import make_folder

RATE = 16_000


def entry(**changes):
    values = {
        "path": "x.wav",
        "caption": "A bell rings.",
        "label": "l",
        "split": "train",
        "seconds": 1.0,
        "source": "AudioCaps",
        "license": "CC0",
    }
    return {**values, **changes}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Noise bursts of different colours and lengths, in both splits, two long bases each."""
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)

    def noise(seconds):
        return rng.uniform(-0.5, 0.5, round(seconds * RATE)) * rng.uniform(0.1, 1.0)

    with BankWriter(folder) as writer:
        for split in ("train", "test"):
            for number in range(9):
                fields = entry(
                    caption=f"Event {number} sounds.", label=f"{split}/{number}", split=split
                )
                fields.pop("seconds")
                writer.add(noise(rng.uniform(0.3, 4.8)), **fields)
            for number in range(2):
                fields = entry(
                    caption=f"Base {number} hums",
                    label=f"{split}/base{number}",
                    split=split,
                    kind="ambience",
                )
                fields.pop("seconds")
                writer.add(noise(11.0), **fields)
    return Bank(folder / "manifest.jsonl")


def test_counts_of_table_one(tmp_path):
    lines = [
        BankEntry(
            **entry(label=f"audiocaps/{i}", split="train" if i < 49_838 else "test", seconds=10.0)
        )
        for i in range(49_838 + 975)
    ]
    lines += [
        BankEntry(**entry(caption=str(i), split=s, source="WavCaps FreeSound", seconds=3.0))
        for i in range(8)
        for s in ("train", "test")
    ]
    write_manifest(tmp_path / "manifest.jsonl", lines[:1])
    full = Bank(tmp_path / "manifest.jsonl")
    full.entries = lines
    sizes = {
        name: {split: len(kind(full, split)) for split in COUNTS[name]}
        for name, kind in DATASETS.items()
        if name != "composed"
    }
    assert sizes == {
        "general": {"train": 49_502, "test": 928},
        "overlay": {"train": 146_481, "test": 200},
        "concatenation": {"train": 92_299, "test": 200},
    }


def test_an_item_is_a_function_of_seed_and_index(bank):
    for name, kind in DATASETS.items():
        one, two = kind(bank, "test", seed=3), kind(Bank(bank.manifest), "test", seed=3)
        two[1]
        a, b = one[0], two[0]
        assert a.prompt == b.prompt and len(a.events) == len(b.events)
        for x, y in zip(a.events, b.events):
            assert x.placements == y.placements and x.reference_caption == y.reference_caption
        assert (a.target is None and b.target is None) or torch.allclose(
            a.target, b.target, atol=1e-6
        )
        assert all(
            torch.allclose(x.waveform(), y.waveform(), atol=1e-6)
            for x, y in zip(a.groups, b.groups)
        )
        with pytest.raises(IndexError):
            one[len(one)]
    first, other = (CustomizedConcatenation(bank, "train", seed)[0] for seed in (0, 1))
    assert first.prompt != other.prompt


def test_workers_see_the_same_items(bank):
    dataset = CustomizedOverlay(bank, "train", seed=1, count=6)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    for index, item in enumerate(loader):
        assert item.prompt == dataset[index].prompt and torch.allclose(
            item.target, dataset[index].target, atol=1e-6
        )


def start(event):
    return event.placements[0].start


def end(event):
    return start(event) + event.placements[0].duration


def test_targets_are_the_sums_of_their_events(bank):
    for name in ("concatenation", "overlay"):
        dataset = DATASETS[name](bank, "train", seed=0)
        for index in range(20):
            item = dataset[index]
            total = torch.zeros(10 * RATE)
            for event in item.events:
                (place,) = event.placements
                begin = round(place.start * RATE)
                assert place.duration == len(event.reference) / RATE
                total[begin : begin + len(event.reference)] += event.reference * 10 ** (
                    place.gain / 20
                )
            assert torch.allclose(total, item.target, atol=1e-5)
            assert item.target.abs().max() == pytest.approx(0.5, abs=1e-5)
            assert all(bank.entries[e.index].split == "train" for e in item.events)


def test_concatenation_deals_the_events_of_the_target_to_three_references(bank):
    dataset = CustomizedConcatenation(bank, "train", seed=0)
    counts = set()
    for index in range(40):
        item = dataset[index]
        counts.add(len(item.events))
        assert 1 <= len(item.events) <= 5 and item.seconds == 10.0
        dealt = [event.index for event in item.references]
        assert sorted(dealt) == sorted(e.index for e in item.events)
        assert len(set(dealt)) == len(dealt)
        sizes = [len(group.events) for group in item.groups]
        assert len(sizes) == min(3, len(item.events)) and max(sizes) - min(sizes) <= 1
        assert all(e.placements[0].duration <= 5 for e in item.events)
        positions = [
            item.prompt.lower().index(f"event {event.caption.split()[1]} ") for event in item.events
        ]
        assert positions == sorted(positions) and start(item.events[0]) == 0.0
        for before, after in zip(item.events, item.events[1:]):
            assert start(after) == pytest.approx(end(before))
        for group in item.groups:
            for event, first in zip(group.events, group.starts()):
                words = event.reference_caption
                assert words in group.caption() and words == words.rstrip(".")
                sound = group.waveform()[first : first + len(event.reference)]
                assert torch.equal(sound, event.reference)
            assert group.caption(1) == group.events[0].reference_caption
    assert counts >= {1, 2, 3, 4}
    assert max(len(CustomizedConcatenation(bank, groups=5)[i].groups) for i in range(20)) > 3


def test_concatenation_has_as_many_clips_as_were_drawn_and_fills_the_target(bank):
    items = [CustomizedConcatenation(bank, "train", seed=1)[i] for i in range(200)]
    shares = Counter(len(item.events) for item in items)
    assert set(shares) == {1, 2, 3, 4, 5}
    # Of 9 clips of 0.3 to 4.8 s some choices of four and five are too long for the target.
    assert all(shares[number] >= 20 for number in (1, 2, 3, 4))
    filled = [end(item.events[-1]) for item in items if len(item.events) >= 3]
    assert max(filled) <= 10.0 + 1e-6 and sum(filled) / len(filled) > 7.0


def test_four_references_are_all_filled_where_four_are_asked_for(bank):
    items = [CustomizedConcatenation(bank, "test", seed=0, groups=4)[i] for i in range(30)]
    assert {len(item.groups) for item in items} == {4}
    assert {len(item.events) for item in items} <= {4, 5}


def test_overlay_keeps_the_ratio_it_drew(bank):
    dataset = CustomizedOverlay(bank, "train", seed=0)
    ratios, counts = [], []
    for index in range(30):
        item = dataset[index]
        counts.append(len(item.events))
        assert [group.events for group in item.groups] == [(event,) for event in item.events]
        power = [
            e.reference.square().mean() * 10 ** (e.placements[0].gain / 10) for e in item.events
        ]
        ratios += [10 * math.log10(p / power[0]) for p in power[1:]]
        assert item.events[0].background and not any(e.background for e in item.events[1:])
        assert all(end(e) <= 5.0001 or start(e) >= 5 for e in item.events[1:])
    assert set(counts) == {1, 2, 3}
    assert -15.01 <= min(ratios) < -8 and 8 < max(ratios) <= 15.01


def test_general_has_no_references(bank):
    item = AudioCapsGeneral(bank, "test")[3]
    assert item.groups == () and item.prompt == "Event 3 sounds."


def test_general_with_a_library_has_the_best_answers_but_never_itself(tmp_path):
    """Both readings of the paper; the library is made of a scan's manifest with its captions."""
    rng = np.random.default_rng(1)
    words = ("A dog barks", "A small dog is barking", "A large dog barks loudly", "Rain falls")
    lines = []
    for number, caption in enumerate(words):
        sound = rng.uniform(-0.4, 0.4, 4000).astype(np.float32)
        soundfile.write(tmp_path / f"{number}.wav", sound, RATE)
        fields = entry(path=f"{number}.wav", caption=caption, seconds=0.25)
        lines.append(BankEntry(**fields))
    write_manifest(tmp_path / "scan.jsonl", lines)
    library = SoundLibrary(tmp_path / "library.sqlite")
    library.add(tmp_path / "scan.jsonl")
    bank = Bank(tmp_path / "scan.jsonl")
    dataset = AudioCapsGeneral(bank, groups=2, library=library)
    item = dataset[0]
    assert {group.caption() for group in item.groups} == set(words[1:3])
    heard = item.groups[0].waveform()
    assert len(heard) <= 4000 and heard.abs().max() == pytest.approx(0.5, abs=1e-3)
    assert dataset.origin()["library"] and "library" not in AudioCapsGeneral(bank).origin()
    out = tmp_path / "ac"
    words = ["data", "compose", "general", bank.manifest, "--split", "train", "--out", out]
    run(*words, "--library", tmp_path / "library.sqlite")
    assert [len(scene.references) for scene in read_scenes(out)] == [3, 3, 3, 3]
    with pytest.raises(InputError, match="was begun with library"):
        run(*words)
    with pytest.raises(InputError, match="--library: .*none.sqlite: no such file"):
        run(*words, "--library", tmp_path / "none.sqlite")


def test_a_set_is_fed_by_the_collections_that_are_named(bank, tmp_path):
    """Table I: clips of AudioCaps do not reach the customized sets."""
    lines = [
        BankEntry(**entry(source=source, caption=f"{source} {number}", seconds=2.0))
        for source in ("AudioCaps", "WavCaps FreeSound", "ESC-50", "WavCaps SoundBible")
        for number in range(6)
    ]
    write_manifest(tmp_path / "manifest.jsonl", lines)
    chosen = Bank(tmp_path / "manifest.jsonl", collections=("wavcaps", "esc50"))
    assert {e.source for e in chosen.entries} == {s.source for s in lines} - {"AudioCaps"}
    assert chosen.digest() != Bank(tmp_path / "manifest.jsonl").digest()
    with pytest.raises(InputError, match="expected some of audiocaps, esc50, wavcaps, found 'fsd'"):
        Bank(tmp_path / "manifest.jsonl", collections=("fsd",))


def test_scenarios_become_a_test_set_without_targets(tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for name in ("laser", "snail"):
        silent = np.zeros(3000, np.float32)
        sound = np.random.default_rng(2).uniform(-0.3, 0.3, 6000).astype(np.float32)
        soundfile.write(sounds / f"{name}.wav", np.concatenate([silent, sound]), 8000)
    file = tmp_path / "mine.csv"
    file.write_text(
        "prompt,audio1,caption1,audio2,caption2\n"
        '"a snail fires a laser",laser.wav,a laser fires,snail.wav,a snail roars\n'
    )
    out = tmp_path / "fantasy"
    words = ["data", "compose", "fantasy", "--scenarios", file, "--out", out]
    with pytest.raises(InputError, match="expected the sound laser.wav"):
        run(*words)
    run(*words, "--sounds", sounds)
    (scene,) = read_scenes(out)
    assert scene.target is None and scene.prompt == "a snail fires a laser"
    assert [r.caption for r in scene.references] == ["a laser fires", "a snail roars"]
    heard, rate = soundfile.read(scene.references[0].audio)
    assert rate == RATE and abs(heard).max() == pytest.approx(0.5, abs=0.01)
    assert len(heard) < 13_000
    for words in (["fantasy"], ["overlay"], ["overlay", "m.jsonl", "--sounds", sounds]):
        with pytest.raises(InputError, match="--scenarios|manifest: expected"):
            run("data", "compose", *words, "--out", tmp_path / "other")


def test_captions_stand_within_a_sentence():
    assert as_clause("A dog barks. ") == "a dog barks"
    assert as_clause("TV noise") == "TV noise"


def test_a_test_set_on_disk_is_what_the_evaluation_reads(bank, tmp_path):
    dataset = CustomizedOverlay(bank, "test", seed=5, count=3)

    def interrupt(done):
        if (tmp_path / "targets/00001.wav").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_test_set(dataset, tmp_path, interrupt)
    kept = (tmp_path / "targets/00000.wav").stat().st_mtime_ns
    assert write_test_set(dataset, tmp_path) == 3
    assert (tmp_path / "targets/00000.wav").stat().st_mtime_ns == kept
    items = read_scenes(tmp_path)
    assert [i.name for i in items] == ["00000", "00001", "00002"]
    assert [r.caption for r in items[2].references] == [g.caption() for g in dataset[2].groups]
    with pytest.raises(InputError, match="was begun with seed 5, found 6"):
        write_test_set(CustomizedOverlay(bank, "test", seed=6), tmp_path)


def test_small_banks_are_refused(tmp_path):
    write_manifest(tmp_path / "manifest.jsonl", [BankEntry(**entry())])
    small = Bank(tmp_path / "manifest.jsonl")
    for kind, words in (
        (CustomizedConcatenation, "at least 5 clips"),
        (CustomizedOverlay, "at least 3 clips"),
    ):
        with pytest.raises(InputError, match=words):
            kind(small, "train")
    with pytest.raises(InputError, match="split: overlay has train and test, found 'dev'"):
        CustomizedOverlay(small, "dev")


def run(*arguments):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    add_data(commands)
    add_train(commands)
    args = parser.parse_args([str(a) for a in arguments])
    return args.run(args)


@pytest.fixture(scope="module")
def cached(bank, tmp_path_factory):
    """A model folder and a cache of it, made through the command line."""
    folder = tmp_path_factory.mktemp("cached")
    model = make_folder(folder / "model", fusion="concat")
    command = (
        "data",
        "cache",
        "concatenation",
        bank.manifest,
        "--model",
        model,
        "--count",
        6,
        "--shard-items",
        4,
    )
    assert run(*command, "--out", folder / "cache", "--share", "2/2") == 0
    assert [p.name for p in sorted((folder / "cache").glob("*.safetensors"))] == [
        "000001.safetensors"
    ]
    (folder / "cache/000000.safetensors").write_bytes(b"cut short")
    run(*command, "--out", folder / "cache")
    return model, folder / "cache"


def test_cached_items_hold_every_choice_of_events(cached, bank):
    shards = [LatentShard(path) for path in sorted(cached[1].glob("*.safetensors"))]
    assert [len(shard) for shard in shards] == [4, 2]
    dataset = CustomizedConcatenation(bank, count=6)
    for index in range(6):
        item, expected = shards[index // 4][index % 4], dataset[index]
        assert item.mean.shape == (4, 126, 8)
        assert [len(r.events) for r in item.references] == [len(g.events) for g in expected.groups]
        for reference in item.references:
            assert set(reference.captions) == set(range(1, 2 ** len(reference.events)))
            assert not any(event.placements for event in reference.events)


def test_a_shard_holds_what_each_sound_alone_is_encoded_to(cached, bank, monkeypatch):
    model = load_model(cached[0])
    dataset = CustomizedConcatenation(bank, count=4)
    items = [dataset[index] for index in range(4)]
    encoder = LatentEncoder(model.config, model.vae, model.text_encoder, timeline=False)
    together = encoder.shard(items)
    for name in ("TARGETS", "PARTS"):
        monkeypatch.setattr(latents, name, 1)
    alone = encoder.shard(items)
    assert together.keys() == alone.keys() and len(together["sounds"]) > 20
    for name, tensor in together.items():
        # Two units of the last place of half precision.
        torch.testing.assert_close(tensor, alone[name], atol=2e-3, rtol=2e-3)


def test_concat_batches_drop_mask_and_blank_as_asked(cached):
    shard = LatentShard(sorted(cached[1].glob("*.safetensors"))[0])
    items = [shard[i] for i in range(4)]

    def batch(augmentation, seed=0, items=items):
        generator = torch.Generator().manual_seed(seed)
        common = (shard.silence, shard.empty_text, ConcatFusion(), 3, augmentation, generator)
        return join_batches([training_example(item, *common) for item in items])

    whole = batch(Augmentation(0, 0, 0))
    assert whole.references.shape == (4, 3, 4, 126, 8)
    assert whole.reference_mask.sum(1).tolist() == [len(i.references) for i in items]
    for row, item in enumerate(items):
        found = {
            tuple(event.sound[1][:, 0].flatten().tolist())
            for r in item.references
            for event in r.events
            if event.sound[0] == 0
        }
        assert {
            tuple(r[:, 0].flatten().tolist())
            for r in whole.references[row][whole.reference_mask[row]]
        } == found
    silent = shard.silence.expand(4, 126, 8)
    for augmentation in (
        Augmentation(drop=1, mask=0, unconditional=0),
        Augmentation(0, 0, unconditional=1),
    ):
        none = batch(augmentation)
        assert not none.reference_mask.any() and torch.equal(
            none.references, silent.expand(4, 3, -1, -1, -1)
        )
        length = len(shard.empty_text)
        assert none.caption_mask.sum(-1).unique().tolist() == [length]
        assert torch.equal(none.captions[0, 0, :length], shard.empty_text)
        blank = augmentation.unconditional == 1
        assert (none.prompt_mask.sum(-1) == length).all() == blank
    for item in items:
        plain, masked = (
            batch(Augmentation(0, mask, 0), items=[item]).references[0] for mask in (0, 1)
        )
        changed = (masked != plain).any(dim=1).any(dim=-1)
        assert changed.any()
        assert (masked.transpose(1, 2)[changed] == shard.silence[:, 0]).all()
    draws = [batch(Augmentation(0.4, 0, 0), seed).reference_mask.sum() for seed in range(100)]
    singles = sum(len(i.references) for i in items)
    assert 0.4 * singles < np.mean([int(d) for d in draws]) < 0.85 * singles
    alone = [int(batch(Augmentation(0, 0, 0.1), s).reference_mask.any(1).sum()) for s in range(100)]
    assert 340 <= sum(alone) <= 380


def test_train_commands_make_parts_that_load(cached, bank, tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    model, cache = cached
    loop = ("--steps", 1, "--batch", 2, "--warmup", 1, "--device", "cpu")
    for name, extra in (
        ("flow", ("--data", cache)),
        ("align", ("--data", cache, "--initial", model / "flow.safetensors", "--references", 4)),
        ("vae", ("--bank", bank.manifest, "--frames", 32, "--discriminator-width", 8)),
        ("vocoder", ("--bank", bank.manifest, "--frames", 8, "--discriminator-width", 4)),
    ):
        assert run("train", name, tmp_path / name, "--model", model, *loop, *extra) == 0
        part = "flow" if name == "align" else name
        loaded = load_model(model, **{part: tmp_path / name / f"{part}.safetensors"})
        assert loaded.max_references == (4 if name == "align" else 3)
    with pytest.raises(InputError, match="this run trains 'flow', not 'vae'"):
        run("train", "vae", tmp_path / "flow", "--model", model, *loop, "--bank", bank.manifest)
    with pytest.raises(InputError, match="because 'dreamaudio' is a preset"):
        run(
            "data",
            "cache",
            "overlay",
            bank.manifest,
            "--model",
            "dreamaudio",
            "--out",
            tmp_path / "x",
        )


@pytest.fixture(scope="module")
def placed(bank, tmp_path_factory):
    """A model that places its references, and a cache of compositions for it."""
    folder = tmp_path_factory.mktemp("placed")
    model = make_folder(folder / "model")
    command = ("data", "cache", "composed", bank.manifest, "--model", model, "--count", 8)
    options = ("--shard-items", 2, "--seconds", "2.56,5.12", "--workers", 2)
    assert run(*command, *options, "--out", folder / "cache") == 0
    return model, folder / "cache"


def test_composed_caches_hold_timelines_and_alternate_lengths(placed, bank):
    shards = [LatentShard(path) for path in sorted(placed[1].glob("*.safetensors"))]
    assert [shard.shape for shard in shards] == [(4, 32, 8), (4, 64, 8)] * 2
    assert all(shard.has_timeline for shard in shards)
    for seconds, offset in ((2.56, 0), (5.12, 2)):
        dataset = Composed(bank, config=ComposerConfig.fixed_length(seconds))
        for index in (offset, offset + 5):
            item, expected = shards[index // 2][index % 2], dataset[index]
            assert [[frame for frame, _ in r.events[0].placements] for r in item.references] == [
                [round(p.start / 0.08) for p in e.placements] for e in expected.references
            ]
            for reference in item.references:
                (event,) = reference.events
                assert event.sound[0] == 0 and set(reference.captions) == {1}
                assert all(latent.shape[::2] == (4, 8) for _, latent in event.placements)
    origin = json.loads((placed[1] / "origin.json").read_text())
    assert origin["dataset"] == "composed" and origin["count"] == 8


def test_single_events_are_cached_without_references(bank, tmp_path):
    model = make_folder(tmp_path / "model")
    command = ("data", "cache", "composed", bank.manifest, "--model", model, "--count", 2)
    run(*command, "--text-only", "--seconds", 2.56, "--out", tmp_path / "cache")
    shard = LatentShard(tmp_path / "cache/000000.safetensors")
    assert [shard[i].references for i in range(2)] == [[], []] and shard.shape == (4, 32, 8)
    with pytest.raises(InputError, match="only the dataset 'composed'"):
        command = ("data", "cache", "overlay", bank.manifest, "--model", model, "--text-only")
        run(*command, "--out", tmp_path / "other")


def test_placed_batches_drop_mask_free_and_blank_as_asked(placed):
    shard = LatentShard(sorted(placed[1].glob("*.safetensors"))[0])
    items = [shard[i] for i in range(2)]
    used = [sum(bool(r.events[0].placements) for r in item.references) for item in items]

    def batch(augmentation, slots=8, seed=0):
        generator = torch.Generator().manual_seed(seed)
        common = (shard.silence, shard.empty_text, PlacedFusion(), slots, augmentation, generator)
        return join_batches([training_example(item, *common) for item in items])

    whole = batch(Augmentation(0, 0, 0, free=0))
    assert whole.reference_mask.sum(1).tolist() == used
    presence, flag = whole.references[:, :, -2], whole.references[:, :, -1]
    for row, item in enumerate(items):
        expected = set()
        for reference in item.references:
            frames = torch.zeros(32)
            for frame, latent in reference.events[0].placements:
                frames[frame : frame + latent.shape[1]] = 1
            expected.add(tuple(frames.tolist()))
        found = presence[row, whole.reference_mask[row], :, 0]
        assert {tuple(f.tolist()) for f in found} == expected - {(0.0,) * 32}
        assert (flag[row, whole.reference_mask[row]] == 1).all()
    free = batch(Augmentation(0, 0, 0, free=1))
    assert free.reference_mask.sum(1).tolist() == [len(item.references) for item in items]
    assert (free.references[:, :, -1] == 0).all()
    for none in (Augmentation(1, 0, 0), Augmentation(0, 0, 1)):
        assert not batch(none).reference_mask.any()
    assert batch(Augmentation(0, 0, 0, 1), slots=1).references.shape[1] == 1
    masked = batch(Augmentation(0, 1, 0, free=0)).references
    assert (masked != whole.references).any() and torch.equal(
        masked[:, :, -2:], whole.references[:, :, -2:]
    )


def test_a_cache_without_timelines_is_not_for_placed_references(cached, placed):
    from dreamaudio_core.training.flow_dataset import FlowDataset

    plain = Augmentation(0, 0, 0, 0)
    with pytest.raises(InputError, match="cached without timelines"):
        FlowDataset([cached[1]], read_config(placed[0]), 8, plain)
    # The other way round works: any network can leave timelines aside.
    source = FlowDataset([placed[1]], read_config(cached[0]), 3, plain)
    assert source.example(0, torch.Generator().manual_seed(0))["batch"].references.shape[1] == 3


def test_a_cache_does_not_continue_with_another_vae_or_bank_of_the_same_name(
    cached, bank, tmp_path
):
    model = make_folder(tmp_path / "model", fusion="concat")
    command = ("data", "cache", "concatenation", "--model", model, "--count", 4)
    command += ("--shard-items", 2, "--out", tmp_path / "cache")
    run(*command, bank.manifest, "--share", "1/2")
    state, facts = read_safetensors(model / "vae.safetensors")
    (tmp_path / "v2").mkdir()
    other = tmp_path / "v2" / "vae.safetensors"
    config = read_config(model).vae
    save_weights(other, {k: v + 0.01 for k, v in state.items()}, "vae", config)
    with pytest.raises(InputError, match="was begun with vae '"):
        run(*command, bank.manifest, "--share", "2/2", "--vae", other)
    entries = [dataclasses.replace(e, caption=e.caption.upper()) for e in bank.entries]
    write_manifest(tmp_path / bank.manifest.name, entries)
    (tmp_path / PACKED_NAME).symlink_to(bank.manifest.parent / PACKED_NAME)
    with pytest.raises(InputError, match="was begun with bank '"):
        run(*command, tmp_path / bank.manifest.name, "--share", "2/2")
    # The same weights and bank elsewhere are the same.
    (tmp_path / "copy.safetensors").write_bytes((model / "vae.safetensors").read_bytes())
    run(*command, bank.manifest, "--share", "2/2", "--vae", tmp_path / "copy.safetensors")
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2


def test_test_sets_have_one_name_everywhere():
    parser = argparse.ArgumentParser()
    add_evaluate(parser.add_subparsers(required=True))
    for name in (name for name in DATASETS if name != "composed"):
        words = ["--model", "mini", "--data", "x", "--out", "y", "--test-set", name]
        assert parser.parse_args(["evaluate", "ctta", *words]).test_set == name
