"""The arranger: its symmetries, what it can learn, and how its output becomes a timeline."""

import dataclasses

import pytest
import torch
from torch import nn

from dreamaudio_core.config import PRESETS, ArrangerConfig
from dreamaudio_core.errors import InputError
from dreamaudio_core.networks.arranger import (
    Arranger,
    ArrangerOutput,
    predict,
)
from dreamaudio_core.networks.arranger_timeline import (
    decode_timeline,
    default_timeline,
    nothing_missing,
)
from dreamaudio_core.scene.timeline import Placement

GRID_SECONDS = 0.08
SMALL = ArrangerConfig(
    text_dim=24,
    hidden=32,
    layers=2,
    heads=2,
    max_references=8,
    max_repeats=3,
    predicts_missing=True,
)


def batch(size=2, length=9, references=3, words=5, dim=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "prompt": torch.randn(size, length, dim, generator=generator),
        "prompt_mask": torch.ones(size, length, dtype=torch.bool),
        "captions": torch.randn(size, references, words, dim, generator=generator),
        "caption_mask": torch.ones(size, references, words, dtype=torch.bool),
        "reference_seconds": 0.3 + 4 * torch.rand(size, references, generator=generator),
        "reference_mask": torch.ones(size, references, dtype=torch.bool),
        "seconds": torch.full((size,), 10.24),
    }


@pytest.fixture()
def small():
    torch.manual_seed(3)
    model = Arranger(SMALL).eval()
    # Away from its neutral start, so that every path has an influence.
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.1)
    return model


def fields(out: ArrangerOutput) -> dict[str, torch.Tensor]:
    return dict(vars(out))


def test_preset_is_small_and_computes_the_stated_shapes():
    config = PRESETS["mini"].arranger
    model = Arranger(config)
    assert sum(p.numel() for p in model.parameters()) < 4_000_000
    out = model(**batch(2, references=5, dim=384))
    repeats = config.max_repeats
    assert out.occurs.shape == out.gain.shape == (2, 5)
    assert out.repeats.shape == out.start.shape == out.duration.shape == (2, 5, repeats)
    assert out.precedes.shape == (2, 5, repeats, 5) and out.complete.shape == (2,)


def test_any_number_of_references(small):
    for count in range(9):
        out = small(**batch(1, references=count))
        assert out.start.shape == (1, count, 3)
        assert all(torch.isfinite(x).all() for x in fields(out).values())


def test_meta_device_and_other_operations():
    class Doubled(nn.Linear):
        calls = 0

        def forward(self, x):
            Doubled.calls += 1
            return super().forward(x)

    class Operations:
        Linear, LayerNorm, Embedding = Doubled, nn.LayerNorm, nn.Embedding

    assert all(
        p.is_meta and p.dtype == torch.float16
        for p in Arranger(SMALL, dtype=torch.float16, device="meta").parameters()
    )
    model = Arranger(SMALL, operations=Operations)
    model(**batch())
    assert Doubled.calls >= sum(isinstance(m, Doubled) for m in model.modules())


def test_permuting_references_permutes_the_output(small):
    inputs = batch(2, references=4)
    order = [2, 0, 3, 1]
    moved = {
        k: v[:, order]
        if k in ("captions", "caption_mask", "reference_seconds", "reference_mask")
        else v
        for k, v in inputs.items()
    }
    with torch.no_grad():
        plain, permuted = fields(small(**inputs)), fields(small(**moved))
    plain["precedes"] = plain["precedes"][..., order]
    for name, value in plain.items():
        expected = value if name == "complete" else value[:, order]
        torch.testing.assert_close(permuted[name], expected, msg=name, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing(small):
    inputs = batch(1, length=7, references=2, words=4)
    padded = batch(1, length=12, references=5, words=9, seed=1)
    for name in ("prompt_mask", "caption_mask", "reference_mask"):
        padded[name][:] = False
    # Padded references keep a token, as an empty caption has one.
    padded["caption_mask"][:, :, 0] = True
    padded["caption_mask"][:, :2] = False
    for name, value in inputs.items():
        padded[name][tuple(slice(n) for n in value.shape)] = value
    with torch.no_grad():
        short, long = fields(small(**inputs)), fields(small(**padded))
    long["precedes"] = long["precedes"][..., :2]
    for name, value in short.items():
        found = long[name] if name == "complete" else long[name][:, :2]
        torch.testing.assert_close(found, value, msg=name, atol=1e-4, rtol=1e-4)


def test_word_order_and_lengths_matter(small):
    inputs = batch(1)
    with torch.no_grad():
        plain = small(**inputs).start
        reordered = small(**{**inputs, "prompt": inputs["prompt"].flip(1)}).start
        longer = small(**{**inputs, "reference_seconds": inputs["reference_seconds"] + 1}).start
    assert (plain - reordered).abs().max() > 1e-2
    assert (plain - longer).abs().max() > 1e-2


def test_starts_are_sums_of_the_lengths_before():
    """With the order given, no learning is needed to put references back to back."""
    model = Arranger(SMALL)
    for head in (
        model.place,
        model.later,
        model.earlier,
        model.repeats,
        model.length,
        model.occurs,
        model.order,
    ):
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
    nn.init.constant_(model.occurs.bias, 20.0)
    model.repeats.bias.data[0] = 20.0
    model.length.bias.data[:] = torch.tensor([20.0, -20.0, 0.0, 20.0])
    model.place.bias.data.view(7, -1)[3] = 20.0
    # Order of the matches in the prompt alone decides.
    model.order.weight.data[:, 1] = 200.0
    model.match.weight.data.zero_()
    model.match.bias.data.zero_()
    model.match.weight.data[0, 0] = 10.0
    inputs = batch(1, length=9, references=3)
    model.match_caption.load_state_dict(model.match_prompt.state_dict())
    for k, token in enumerate((6, 0, 3)):
        inputs["captions"][0, k] = inputs["prompt"][0, token]
    with torch.no_grad():
        out = model(**inputs)
    lengths = inputs["reference_seconds"][0]
    expected = torch.stack([lengths[1] + lengths[2], torch.tensor(0.0), lengths[1]])
    torch.testing.assert_close(out.start[0, :, 0], expected, atol=2e-2, rtol=0)
    torch.testing.assert_close(out.duration[0, :, 0], lengths)


def test_it_learns_eight_compositions():
    torch.manual_seed(0)
    model = Arranger(SMALL)
    inputs = batch(8, length=10, references=3)
    generator = torch.Generator().manual_seed(5)
    asked = torch.rand(8, 3, generator=generator) < 0.7
    start = 6 * torch.rand(8, 3, generator=generator)
    count = torch.randint(0, 3, (8, 3), generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)

    def losses():
        out = model(**inputs)
        occurs = nn.functional.binary_cross_entropy_with_logits(out.occurs, asked.float())
        repeats = nn.functional.cross_entropy(out.repeats[asked], count[asked])
        return out, occurs + repeats + nn.functional.smooth_l1_loss(
            out.start[..., 0][asked], start[asked]
        )

    before = losses()[1].item()
    for _ in range(150):
        optimizer.zero_grad()
        losses()[1].backward()
        optimizer.step()
    out, after = losses()
    assert after.item() < 0.1 * before
    assert ((out.occurs > 0) == asked).all()
    assert (out.repeats.argmax(-1)[asked] == count[asked]).all()
    assert (out.start[..., 0][asked] - start[asked]).abs().mean() < 0.3


def suffice(model, inputs, item=0, count=None):
    chosen = slice(count)
    out = predict(
        model,
        inputs["prompt"][item],
        inputs["prompt_mask"][item],
        inputs["captions"][item, chosen],
        inputs["caption_mask"][item, chosen],
        inputs["reference_seconds"][item, chosen].tolist(),
        10.24,
    )
    return nothing_missing(out)


def test_it_learns_whether_a_word_has_no_reference():
    """Prompts of words that captions repeat exactly, each caption one word; some prompts have a
    word more.
    """
    torch.manual_seed(0)
    model = Arranger(SMALL)
    inputs = batch(256, length=4, references=4, words=1)
    wanted = torch.arange(256) % 2 == 0
    inputs["captions"][:, :, 0] = inputs["prompt"]
    inputs["reference_mask"][~wanted, 3] = False
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(
            model(**inputs).complete, wanted.float()
        ).backward()
        optimizer.step()
    fresh = batch(20, length=4, references=4, words=1, seed=9)
    fresh["captions"][:, :, 0] = fresh["prompt"]
    model.eval()
    assert sum(suffice(model, fresh, i) for i in range(20)) >= 18
    assert sum(suffice(model, fresh, i, count=3) for i in range(20)) <= 2
    assert not suffice(model, fresh, count=0)


def test_without_the_answer_any_reference_suffices(small):
    model = Arranger(dataclasses.replace(SMALL, predicts_missing=False))
    assert model(**batch()).complete is None
    assert suffice(model, batch())
    with pytest.raises(InputError, match="at most 8"):
        suffice(small, batch(references=9))


class Fixed(nn.Module):
    """Stands for an arranger whose answer is known, so that only the decoding is under test."""

    config = SMALL

    def __init__(self, occurs, repeats, start, duration, gain):
        super().__init__()
        self.occurs = nn.Linear(1, 1)
        known = (torch.tensor([x]) for x in (occurs, repeats, start, duration, gain))
        self.out = ArrangerOutput(*known, torch.zeros(0))

    def forward(self, *inputs):
        return self.out


def decode(model, lengths, seconds=10.24):
    features = batch(1, references=len(lengths))
    out = predict(
        model,
        features["prompt"][0],
        features["prompt_mask"][0],
        features["captions"][0],
        features["caption_mask"][0],
        lengths,
        seconds,
    )
    return decode_timeline(out, lengths, seconds, GRID_SECONDS)


def test_decoding():
    model = Fixed(
        occurs=[2.0, -3.0, -1.0, 1.0],
        repeats=[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 5.0, 0.0], [1.0, 0.0, 0.0]],
        start=[[-0.7, 0.0, 0.0], [1.0, 0.0, 0.0], [6.01, 3.03, 0.0], [25.0, 0.0, 0.0]],
        duration=[[3.0] * 3, [1.0] * 3, [2.0] * 3, [40.0] * 3],
        gain=[0.0, 0.0, -6.0, 0.0],
    )
    first, unasked, twice, long = decode(model, [1.5, 1.0, 2.5, 30.0])
    assert first == (Placement(0.0, 1.5),)
    assert unasked == ()
    assert [p.start for p in twice] == [pytest.approx(3.04), pytest.approx(6.0)]
    assert {p.gain for p in twice} == {-6.0} and {p.duration for p in twice} == {2.0}
    assert long == (Placement(0.0, 10.24),)


def test_long_sounds_in_a_row_share_the_room_of_the_short_ones():
    model = Fixed(
        occurs=[1.0] * 3,
        repeats=[[1.0, 0.0, 0.0]] * 3,
        start=[[0.1, 0.0, 0.0], [4.9, 0.0, 0.0], [5.5, 0.0, 0.0]],
        duration=[[4.7] * 3, [0.5] * 3, [4.5] * 3],
        gain=[0.0] * 3,
    )
    (first,), (short,), (last,) = decode(model, [8.0, 0.5, 9.0])
    assert first.duration == last.duration == pytest.approx(4.48)
    assert short.duration == 0.5
    assert 0 < short.start - first.start - first.duration < 0.3
    assert 0 < last.start - short.start - 0.5 < 0.3
    # What sounds together stays together.
    model.out.start[0, :, 0] = torch.tensor([0.1, 0.1, 0.1])
    assert {p.start for (p,) in decode(model, [8.0, 0.5, 9.0])} == {0.08}


def test_late_starts_leave_room_for_the_sound_and_lie_on_the_grid():
    model = Fixed([1.0], [[1.0, 0.0, 0.0]], [[9.9, 0.0, 0.0]], [[1.3] * 3], [0.0])
    ((place,),) = decode(model, [1.3], 10.0)
    assert place.start + place.duration <= 10.0
    assert 10.0 - place.start - place.duration < GRID_SECONDS
    assert place.start / GRID_SECONDS == pytest.approx(round(place.start / GRID_SECONDS))


def test_more_references_than_it_takes_are_refused(small):
    with pytest.raises(InputError, match="at most 8"):
        decode(small, [1.0] * 9)
    assert decode(small, []) == []


def test_default_timeline_is_back_to_back():
    timeline = default_timeline([1.6, 0.8, 2.4], 10.24, GRID_SECONDS)
    assert timeline == [(Placement(0.0, 1.6),), (Placement(1.6, 0.8),), (Placement(2.4, 2.4),)]
    assert default_timeline([], 10.24, GRID_SECONDS) == []


def test_default_timeline_cuts_the_longest_until_all_fit():
    timeline = default_timeline([10.0, 1.0, 8.0], 9.0, GRID_SECONDS)
    assert [places[0].duration for places in timeline] == pytest.approx([4.0, 1.0, 4.0])
    assert [places[0].start for places in timeline] == pytest.approx(
        [0.0, 4.0, 5.0], abs=GRID_SECONDS / 2 + 1e-6
    )
    for (place,) in timeline:
        assert place.start + place.duration <= 9.0 + 1e-6
