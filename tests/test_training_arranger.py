"""The arranger as a training task, from a bank to weights, and the measures of its answers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from closeness import same_state
from dreamaudio_core.cli.main import main
from dreamaudio_core.config import ArrangerConfig
from dreamaudio_core.data.arranger_items import TextFeatures, is_complete, read_items, texts_of
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.wordings import Wordings, with_similar_captions
from dreamaudio_core.errors import InputError
from dreamaudio_core.evaluation.arranger_metrics import (
    measure_compositions,
    measure_prompts,
    prompt_texts,
)
from dreamaudio_core.evaluation.timelines import read_prompts
from dreamaudio_core.loading import load_model
from dreamaudio_core.networks.arranger import Arranger, ArrangerOutput
from dreamaudio_core.training.loop import train
from dreamaudio_core.training.options import TrainOptions
from dreamaudio_core.training.run_state import saved_checkpoints
from dreamaudio_core.training.tasks.arranger_task import COMPLETENESS, MATCHING, ArrangerTask
from dreamaudio_core.weights.checkpoint import load_weights, save_weights
from dreamaudio_core.weights.folder import read_config
from small_bank import fill_bank
from small_model import make_folder

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

NOUNS = "frog dog cat cow pig horse duck hen crow owl".split()


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    def event(rng, number):
        return 0.3 * rng.standard_normal(int(16_000 * rng.uniform(0.3, 1.2)))

    def caption(noun, split):
        return f"a {noun} {'calls' if split == 'train' else 'vanishes'}"

    return Bank(fill_bank(tmp_path_factory.mktemp("bank"), NOUNS, event, caption, loudness=0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(bank, folder, tmp_path_factory):
    """A data folder that all tests share."""
    path = tmp_path_factory.mktemp("data")
    make(bank, folder, path)
    return path


def make(bank, folder, data, **options):
    torch.manual_seed(0)
    config = read_config(folder)
    return ArrangerTask(
        replace(config, arranger=replace(config.arranger, predicts_missing=True)),
        bank,
        data,
        compositions=24,
        held_out=6,
        text_encoder=folder / "text_encoder",
        **options,
    )


def options(run, **changes):
    values = {
        "steps": 4,
        "batch": 4,
        "warmup": 1,
        "ema": 0.5,
        "device": "cpu",
        "progress": False,
        "validate_every": 100,
    }
    return TrainOptions(run, **{**values, **changes})


def curve(task, choices, name="arranger/loss"):
    found = []
    train(task, choices, lambda step, values: found.append(values[name]))
    return found


def test_the_command_trains_weights_that_the_pipeline_loads(bank, folder, tmp_path):
    words = ["train", "arranger", tmp_path / "run", "--model", folder, "--bank", bank.manifest]
    words += ["--data", tmp_path / "data", "--compositions", 12, "--held-out", 4, "--steps", 2]
    words += ["--batch", 4, "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    weights = tmp_path / "run" / "arranger.safetensors"
    model = load_model(folder, arranger=weights)
    assert model.arranger.config == read_config(folder).arranger
    items = (tmp_path / "data" / "items_train.jsonl").read_bytes()
    assert main([str(word) for word in words]) == 0
    assert (tmp_path / "data" / "items_train.jsonl").read_bytes() == items
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    log.Reload()
    shares = [log.Scalars(f"validation/{name}")[0].value for name in ("order", "asked", "complete")]
    assert all(0 <= share <= 100 for share in shares)


def test_the_loss_falls(bank, folder, data, tmp_path):
    found = curve(make(bank, folder, data), options(tmp_path, steps=60, batch=16))
    assert sum(found[-10:]) < 0.8 * sum(found[:10])


def test_resume_changes_nothing(bank, folder, data, tmp_path):
    whole = curve(make(bank, folder, data), options(tmp_path / "whole"))
    parts = curve(make(bank, folder, data), options(tmp_path / "parts", steps=2))
    parts += curve(make(bank, folder, data), options(tmp_path / "parts"))
    assert parts == pytest.approx(whole, rel=1e-4)
    one, two = (
        torch.load(saved_checkpoints(tmp_path / name)[-1][1], weights_only=True)["ema"]
        for name in ("whole", "parts")
    )
    assert same_state(one, two)


def test_chosen_layers_stay_and_weights_without_completeness_are_a_start(
    bank, folder, data, tmp_path
):
    torch.manual_seed(1)
    config = make(bank, folder, data).network.config
    given = {
        name: value
        for name, value in Arranger(config).state_dict().items()
        if name.split(".")[0] not in COMPLETENESS
    }
    save_weights(tmp_path / "old.safetensors", given, "arranger", config)
    initial = load_weights(tmp_path / "old.safetensors", "arranger", ArrangerConfig)[1]
    task = make(bank, folder, data, initial=initial, freeze_matching=True)
    train(task, options(tmp_path / "frozen", steps=2))
    state = task.network.state_dict()
    changed = {name.split(".")[0] for name in given if not torch.equal(state[name], given[name])}
    assert changed and not changed & set(MATCHING)
    task = make(bank, folder, data, initial=initial, only_completeness=True)
    train(task, options(tmp_path / "only", steps=2))
    state = task.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in given.items())
    assert any(name.split(".")[0] in COMPLETENESS for name in state)


def test_a_model_without_an_arranger_and_other_data_are_refused(bank, folder, data, tmp_path):
    concat = read_config(make_folder(tmp_path / "concat", fusion="concat"))
    with pytest.raises(InputError, match="has none"):
        ArrangerTask(concat, bank, data)
    with pytest.raises(InputError, match="holds 24 train items, expected 25"):
        config = read_config(folder)
        ArrangerTask(config, bank, data, compositions=25, held_out=6)


def test_perfect_answers_cost_nothing_and_each_error_does(bank, folder, data):
    task = make(bank, folder, data)
    examples = [task.dataset.example(i, torch.Generator().manual_seed(i)) for i in range(8)]
    batch = task.dataset.collate(examples)
    assert batch["used"].any() and batch["reference_mask"].any()
    sure = 50.0
    right = {
        "occurs": sure * (2 * batch["occurs"] - 1),
        "repeats": sure * torch.nn.functional.one_hot(batch["count"], 4).float(),
        "start": batch["start"],
        "duration": batch["duration"],
        "gain": batch["gain"][..., 0],
        "precedes": sure * (2 * batch["pairs"] - 1),
        "complete": sure * (2 * batch["complete"] - 1),
    }
    repeats = task.network.config.max_repeats
    right["repeats"] = right["repeats"][..., :repeats]
    perfect = task.loss.terms(ArrangerOutput(**right), batch)
    names = {"occurs", "repeats", "start", "duration", "complete"}
    assert all(float(perfect[name]) < 1e-6 for name in names)
    for name in names:
        wrong = right | {name: right[name] + 3.0 if name in ("start", "duration") else -right[name]}
        terms = task.loss.terms(ArrangerOutput(**wrong), batch)
        assert float(terms[name]) > float(perfect[name]) + 0.01, name
        assert all(terms[other] == perfect[other] for other in terms if other != name)


def test_examples_are_drawn_from_their_generator_alone_and_padding_is_masked(bank, folder, data):
    dataset = make(bank, folder, data).dataset
    assert sum(dataset.group_sizes()) == 24

    def draw(item, seed):
        return dataset.example(item, torch.Generator().manual_seed(seed))

    one, two = draw(3, 5), draw(3, 5)
    assert one["lengths"] == two["lengths"] and np.array_equal(one["pairs"], two["pairs"])
    batch = dataset.collate([draw(i, i) for i in range(6)])
    hidden = ~batch["reference_mask"]
    assert not batch["caption_mask"][hidden].any() and not batch["used"][hidden].any()
    # What is used ends within the target.
    ends = (batch["start"] + batch["duration"]).amax((1, 2))
    assert (ends <= batch["seconds"] + 0.01).all()


def test_what_stands_for_everything():
    item = {"events": [{"asked": True}, {"asked": True}, {"asked": False}]}
    asked, also, unasked = item["events"]
    assert is_complete(item, [unasked, also, asked]) and is_complete(item, [asked, also])
    assert not is_complete(item, [asked, unasked])


@pytest.fixture(scope="module")
def encoded(bank, folder, data):
    items = read_items(data, "test")
    encoder = load_model(folder).text_encoder
    return items, TextFeatures.encode(texts_of(items), encoder)


def test_features_in_memory_equal_those_on_disk(data, encoded):
    stored, (items, features) = TextFeatures.load(data), encoded
    for text in texts_of(items)[:5]:
        # Float16, and other texts in the batch.
        assert np.allclose(features[text], stored[text], atol=2e-3)
        assert features.length(text) == stored.length(text) == len(features[text])


def test_similar_captions_are_nearer_than_the_others(bank, data):
    features, items = TextFeatures.load(data), read_items(data, "train")
    wordings = Wordings(items, features, {e.label: e.kind for e in bank.entries})
    rng = np.random.default_rng(0)
    for caption in wordings.captions[:4]:
        found = wordings.similar(caption, wordings.captions, rng)
        assert found is None or found not in wordings.texts[caption]
        assert not wordings.differs(caption, [caption])
    changed = with_similar_captions(items, features, {})
    assert changed == items  # Without kinds all is speech, whose words must stay.


class Oracle:
    """Stands in for a network that knows the compositions."""

    def __init__(self, items, lead=0.0):
        self.items = {item["prompt"]: item for item in items}
        self.lead = lead

    def __call__(self, arranger, prompt, mask, captions, caption_mask, lengths, seconds):
        item = self.current
        events = [e for e in item["events"] if e["has_reference"]]
        if len(lengths) != len(events):
            gone = next(k for k, event in enumerate(events) if event["asked"])
            events = events[:gone] + events[gone + 1 :]
        repeats = 4
        shape = (1, len(events), repeats)
        start, duration = torch.zeros(shape), torch.zeros(shape)
        occurs, count = torch.zeros(shape[:2]), torch.zeros(shape)
        for k, event in enumerate(events):
            occurs[0, k] = 10.0 if event["asked"] else -10.0
            count[0, k, max(0, len(event["places"]) - 1)] = 1.0
            for r, (begin, length, _) in enumerate(event["places"][:repeats]):
                start[0, k, r], duration[0, k, r] = begin + self.lead, length
        sure = 1.0 if is_complete(item, events) else -1.0
        gain = torch.zeros(shape[:2])
        pairs = torch.zeros(*shape, shape[1])
        return ArrangerOutput(occurs, count, start, duration, gain, pairs, torch.tensor([sure]))


@pytest.mark.parametrize("lead", [0.0, 0.8])
def test_measures_of_compositions_reward_the_truth(monkeypatch, encoded, folder, lead):
    from dreamaudio_core.evaluation import arranger_metrics

    items, features = encoded
    oracle = Oracle(items, lead)
    read = arranger_metrics.Reader.read

    def reading(self, item, events):
        oracle.current = item
        return read(self, item, events)

    monkeypatch.setattr(arranger_metrics, "predict", oracle)
    monkeypatch.setattr(arranger_metrics.Reader, "read", reading)
    found = measure_compositions(load_model(folder).arranger, features, items, 0.08)
    assert found["asked"] == found["count"] == found["complete"] == found["incomplete"] == 100.0
    assert (found["start_any"] == 100.0) == (lead == 0.0)
    assert lead > 0 or found["order"] == 100.0


def test_measures_of_written_prompts(folder, tmp_path):
    path = tmp_path / "prompts.jsonl"
    references = [{"caption": "a bell", "seconds": 1.0}, {"caption": "a crow", "seconds": 0.5}]
    item = {"prompt": "a bell rings then a crow caws", "references": references}
    path.write_text(json.dumps({**item, "expected": {"order": [[1, 2]]}}) + "\n")
    items, model = read_prompts(path, 2.56), load_model(folder)
    features = TextFeatures.encode(prompt_texts(items), model.text_encoder)
    found = measure_prompts(model.arranger, features, items, 0.08)
    assert set(found) == {
        "order",
        "asked",
        "together",
        "whole",
        "complete",
        "incomplete",
        "wrong",
    }
    assert (found["whole"] == 100.0) == (not found["wrong"])
    for wrong, word in ((None, "found none"), ({"oder": []}, "unknown expectation 'oder'")):
        path.write_text(json.dumps({**item, "expected": wrong}) + "\n")
        with pytest.raises(InputError, match=f"scene 00001: expected: .*{word}"):
            read_prompts(path)
