"""The pipeline on small random weights in real model folders: stages, counts, seeds, damage."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dreamaudio_core.config import TextConfig, VAEConfig
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.loading import load_model, load_text_stages
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.networks.layers import Attention
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.text_encoder import load_text_encoder
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.rendering.placing import silence_latent
from dreamaudio_core.sampling.solvers import SOLVERS
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import MISSING, ArrangedReference, Arrangement, Placement
from dreamaudio_core.weights.checkpoint import save_weights
from small_model import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def setting(model, **given):
    return model.config.sampling.override(**given)


def tone(frequency, seconds, rate=16_000):
    return 0.4 * torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def references():
    return [
        prepare_reference(tone(440, 0.8), 16_000, "a bell rings", starts=[0.5]),
        prepare_reference(tone(900, 0.6), 16_000, "a crow caws"),
    ]


def test_stages_and_shapes(model, references):
    conditioning = model.condition("a crow caws then a bell rings", references)
    arrangement = model.arrange(conditioning, 2.0)
    slots = model.encode_references(references, arrangement)
    assert slots.latents.shape == (len(slots.members), 6, 26, 8)
    latent = model.sample(conditioning, arrangement, [1, 2], setting(model, steps=3))
    assert latent.shape == (2, 4, 26, 8)
    mel = model.decode(latent)
    assert mel.shape == (2, 1, 208, 64)
    waveform = model.vocode(mel, 2.0)
    assert waveform.shape == (2, 1, 32_000) and torch.isfinite(waveform).all()
    result = model.generate(
        "a crow caws then a bell rings", references, seconds=2.0, seeds=[1, 2], steps=3
    )
    torch.testing.assert_close(result.waveforms, waveform)
    torch.testing.assert_close(result.mel, mel)
    torch.testing.assert_close(result.latents, latent)
    assert result.arrangement == arrangement and result.timeline == arrangement.timeline
    assert (result.sample_rate, result.seeds, result.settings.steps) == (16_000, (1, 2), 3)


def test_texts_are_read_without_the_large_parts(model, folder, references):
    stages = load_text_stages(folder)
    prompt = "a bell rings twice, then a crow caws"
    alone = stages.arrange(stages.condition(prompt, references), 4.0)
    assert alone == model.arrange(model.condition(prompt, references), 4.0)


def test_the_end_of_a_long_prompt_reaches_the_network(model, references):
    start = "rain falls on the roof, and wind blows through the trees. " * 6
    a, b = (model.condition(start + end, references, "noise") for end in ("a dog", "a bell rings"))
    assert a.warnings == () and len(a.prompt_tokens.mask) >= 100
    assert len(a.negative_tokens.mask) == len(a.prompt_tokens.mask)
    arrangement = model.arrange(a, 2.0)
    settings = setting(model, steps=1)
    first, second = (model.sample(c, arrangement, [1], settings) for c in (a, b))
    assert not torch.allclose(first, second)


def test_an_arrangement_is_a_value_that_can_be_given_back(model, references):
    conditioning = model.condition("a crow caws then a bell rings", references)
    arrangement = model.arrange(conditioning, 2.0, missing="silence")
    again = Arrangement.from_json(arrangement.to_json())
    assert again == arrangement
    edited = replace(
        again,
        references=(
            again.references[0],
            ArrangedReference("a crow caws", True, (Placement(1.2, 0.3, -6.0, pinned=True),)),
        ),
    )
    prompt = "a crow caws then a bell rings"
    result = model.generate(prompt, references, arrangement=edited, steps=2)
    assert result.arrangement == edited and result.waveforms.shape == (1, 1, 32_000)
    by_hand = [references[0], replace(references[1], placements=edited.timeline[1])]
    same = model.generate(prompt, by_hand, seconds=2.0, missing="silence", steps=2)
    torch.testing.assert_close(result.waveforms, same.waveforms)
    with pytest.raises(InputError, match="holds 2 references, expected 1"):
        model.generate(prompt, references[:1], arrangement=edited)


def test_settings_are_the_models_own_unless_given(tmp_path, references):
    model = load_model(make_folder(tmp_path / "own"))
    own = replace(model.config.sampling, steps=3, guidance=1.5, reference_guidance=2.5)
    model.config = replace(model.config, sampling=own)
    result = model.generate("a bell", references, seconds=0.64)
    assert result.settings == own
    given = model.generate("a bell", references, seconds=0.64, reference_guidance=1.5)
    assert given.settings == replace(own, reference_guidance=1.5)
    assert (given.latents - result.latents).abs().max() > 1e-4


def test_fixed_start_is_on_the_canvas(model, references):
    arrangement = model.arrange(model.condition("a bell rings", references[:1]), 2.0)
    assert arrangement.timeline == ((Placement(0.5, pytest.approx(0.8, abs=0.02)),),)
    latents = model.encode_references(references[:1], arrangement).latents
    presence = latents[0, 4, :, 0]
    frames = presence.nonzero()[:, 0]
    assert frames[0] == 6 and len(frames) == 11
    assert (latents[0, 5] == 1).all()
    free = model.arrange(model.condition("a bell rings", references[:1]), 2.0, free=True)
    assert free.timeline == (None,)
    latents = model.encode_references(references[:1], free).latents
    assert latents[0, 4, 0, 0] == 1 and (latents[0, 5] == 0).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_frames_without_a_reference_stay_silent_where_nothing_is_missing(model, references, solver):
    conditioning = model.condition("a bell rings", references[:1])
    silence = silence_latent(model.vae, model.config.audio)
    latents = {}
    for missing in MISSING:
        arrangement = model.arrange(conditioning, 2.56, missing=missing)
        assert arrangement.missing == ("generate" if missing == "generate" else "silence")
        settings = replace(model.config.sampling, steps=4, solver=solver)
        latents[missing] = model.sample(conditioning, arrangement, [1, 2], settings)
    # The bell fills frames 6 to 16 of 32, and two more on both sides are its own.
    away = [*range(4), *range(19, 32)]
    for missing in ("auto", "silence"):
        torch.testing.assert_close(
            latents[missing][:, :, away], silence.expand(2, 4, 17, 8), atol=1e-5, rtol=1e-5
        )
    assert (latents["generate"][:, :, away] - silence).abs().mean() > 0.05
    assert (latents["silence"][:, :, 4:19] - silence).abs().mean() > 0.05
    with pytest.raises(InputError, match="missing: expected one of auto, generate, silence"):
        model.arrange(conditioning, 2.56, missing="perhaps")


def test_silence_gives_way_to_free_references_to_none_and_to_a_start_latent(model, references):
    conditioning = model.condition("a bell rings", references[:1])
    placed, free = (
        model.arrange(conditioning, 2.56, free=free, missing="silence") for free in (False, True)
    )
    silence = silence_latent(model.vae, model.config.audio)

    def far(arrangement, some=conditioning, **options):
        return (
            (
                model.sample(some, arrangement, [1], setting(model, steps=3), **options)[:, :, 20:]
                - silence
            )
            .abs()
            .mean()
        )

    assert far(placed) < 1e-5 < 0.05 < far(free)
    start = torch.randn(1, 4, 32, 8, generator=torch.Generator().manual_seed(0))
    assert far(placed, start_latent=start, denoise=0.5) > 0.05
    alone = model.condition("a bell rings")
    assert far(model.arrange(alone, 2.56, missing="silence"), alone) > 0.05
    unused = replace(placed, references=(ArrangedReference("a bell rings", False, ()),))
    assert far(unused) > 0.05


def test_the_arranger_says_whether_something_is_missing(tmp_path, references):
    answers = {}
    for bias in (-50.0, 50.0):
        model = load_model(make_folder(tmp_path / f"{bias}"))
        arranger = Arranger(replace(model.config.arranger, predicts_missing=True)).eval()
        torch.nn.init.zeros_(arranger.complete.weight)
        torch.nn.init.constant_(arranger.complete.bias, bias)
        model.arranger = arranger
        conditioning = model.condition("a bell rings", references[:1])
        answers[bias] = [
            model.arrange(conditioning, 2.56, missing=missing).missing for missing in MISSING
        ]
    assert answers == {
        -50.0: ["generate", "generate", "silence"],
        50.0: ["silence", "generate", "silence"],
    }


def count_calls(monkeypatch, model):
    calls = {"reference": 0, "project": 0, "noise": 0}
    encode, project, forward = MRCUNet.run_reference_encoder, Attention.project, MRCUNet.denoise

    def counted_encode(self, *args, **kwargs):
        calls["reference"] += 1
        return encode(self, *args, **kwargs)

    def counted_project(self, context, mask=None):
        # Projections with a mask are those of text contexts; self-attention has none.
        calls["project"] += mask is not None
        return project(self, context, mask)

    def counted_forward(self, *args, **kwargs):
        calls["noise"] += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(MRCUNet, "run_reference_encoder", counted_encode)
    monkeypatch.setattr(Attention, "project", counted_project)
    monkeypatch.setattr(MRCUNet, "denoise", counted_forward)
    return calls


@pytest.mark.parametrize("fusion", ["placed", "concat"])
@pytest.mark.parametrize("steps", [2, 9])
def test_references_and_contexts_are_encoded_once(tmp_path, monkeypatch, references, fusion, steps):
    model = load_model(make_folder(tmp_path / fusion, fusion))
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 2.56)
    calls = count_calls(monkeypatch, model)
    model.sample(conditioning, arrangement, [0, 1, 2], setting(model, steps=steps))
    sites = sum(isinstance(m, Attention) and m.to_k.in_features == 24 for m in model.flow.modules())
    assert calls == {"reference": 1, "project": sites, "noise": steps}


def test_seed_decides_whatever_the_place_in_a_batch(model, references):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 2.0)
    batch = model.sample(conditioning, arrangement, [5, 6, 7], setting(model, steps=4))
    alone = model.sample(conditioning, arrangement, [7], setting(model, steps=4))
    torch.testing.assert_close(batch[2:], alone, atol=1e-4, rtol=1e-4)
    assert (batch[0] - batch[1]).abs().mean() > 0.1
    again = model.sample(conditioning, arrangement, [7], setting(model, steps=4))
    torch.testing.assert_close(alone, again, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_agree_in_the_limit(model, references, solver):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 0.64)
    fine = model.sample(conditioning, arrangement, [3], setting(model, steps=200, solver="heun"))
    steps = 200 if solver == "euler" else 60
    coarse = model.sample(
        conditioning, arrangement, [3], setting(model, steps=steps, solver=solver)
    )
    assert (coarse - fine).abs().max() < 0.05 * fine.abs().max()


def test_guidance_terms_act(model, references):
    conditioning = model.condition("a crow caws", references, "a bell")
    arrangement = model.arrange(conditioning, 0.64)

    def run(guidance, reference_guidance=None, refs=conditioning):
        settings = replace(
            model.config.sampling,
            steps=3,
            guidance=guidance,
            reference_guidance=reference_guidance,
        )
        return model.sample(refs, arrangement, [3], settings)

    base = run(2.0)
    torch.testing.assert_close(run(2.0, 2.0), base)
    assert (run(3.0) - base).abs().max() > 1e-4
    assert (run(2.0, 4.0) - base).abs().max() > 1e-4
    other = model.condition("a crow caws", references, "then rings rings")
    assert (run(2.0, refs=other) - base).abs().max() > 1e-5


def test_strength(model, references):
    def run(strength):
        refs = [replace(references[0], strength=strength), references[1].at([1.2])]
        conditioning = model.condition("a crow caws", refs)
        return model.sample(
            conditioning, model.arrange(conditioning, 2.0), [3], setting(model, steps=3)
        )

    one, zero, two = run(1.0), run(0.0), run(2.0)
    assert (one - zero).abs().max() > 1e-4 and (two - one).abs().max() > 1e-4
    conditioning = model.condition("a crow caws", [references[1].at([1.2])])
    alone = model.sample(
        conditioning, model.arrange(conditioning, 2.0), [3], setting(model, steps=3)
    )
    torch.testing.assert_close(zero, alone, atol=1e-4, rtol=1e-4)


def test_any_number_of_references(model, references):
    for count in (0, 1, 8):
        many = [
            prepare_reference(tone(200 + 90 * i, 0.5), 16_000, "a bell", starts=[0.1 * i])
            for i in range(count)
        ]
        waveform = model.generate("a bell rings", many, seconds=1.0, steps=1).waveforms
        assert waveform.shape == (1, 1, 16_000) and torch.isfinite(waveform).all()
    with pytest.raises(InputError, match="at most 8, found 9"):
        model.condition("a bell", references * 4 + references[:1])


def test_concat_fills_empty_slots(tmp_path, references):
    model = load_model(make_folder(tmp_path / "concat", "concat"))
    conditioning = model.condition("a crow caws", references[:1])
    arrangement = model.arrange(conditioning)
    latents = model.encode_references(references[:1], arrangement).latents
    assert latents.shape == (3, 4, 32, 8)
    silence = model.encode_references((), model.arrange(model.condition("a crow caws"))).latents
    torch.testing.assert_close(latents[1:], silence[1:])
    assert (silence[0] - silence[0, :, :1]).abs().max() == 0
    assert arrangement.warnings == (
        "reference 1: its times are not used, because this network places references",
    )
    (ignored,) = model.arrange(model.condition("a crow caws"), missing="silence").warnings
    assert ignored.startswith("missing: silence is not kept")
    with pytest.raises(InputError, match="at most 3"):
        model.condition("a", references * 2)
    aligned = load_model(make_folder(tmp_path / "aligned", "concat", aligned_references=4))
    assert aligned.generate("a bell", references * 2, steps=1).waveforms.shape == (1, 1, 40_960)
    # Fewer references than slots: the rest are silence, in front of the alignment layer too.
    three = aligned.condition("a bell", references[:1])
    slots = aligned.encode_references(references[:1], aligned.arrange(three)).latents
    torch.testing.assert_close(slots[3], aligned.silence.expand(-1, 32, -1))


@pytest.mark.parametrize("architecture", ["unet", "shared"])
def test_variants_generate(tmp_path, references, architecture):
    model = load_model(make_folder(tmp_path / architecture, "concat", architecture=architecture))
    assert model.generate("a bell", references, steps=2).waveforms.shape == (1, 1, 40_960)


def test_ddpm_variant(tmp_path, references):
    model = load_model(make_folder(tmp_path / "ddpm", "concat", objective="ddpm"))
    seen = []
    result = model.generate(
        "a bell", references, steps=4, callback=lambda i, n, z: seen.append((i, n))
    )
    assert result.waveforms.shape == (1, 1, 40_960) and seen[-1] == (4, 4)


def test_audio_to_audio(model, references):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 2.0)
    start = model.encode(tone(300, 2.0), 2.0)
    assert start.shape == (1, 4, 26, 8)
    far = model.sample(
        conditioning, arrangement, [1], setting(model, steps=4), start_latent=start, denoise=0.9
    )
    near = model.sample(
        conditioning, arrangement, [1], setting(model, steps=4), start_latent=start, denoise=0.02
    )
    assert (near - start).abs().mean() < (far - start).abs().mean()
    fresh = model.sample(conditioning, arrangement, [1], setting(model, steps=4))
    torch.testing.assert_close(
        model.sample(
            conditioning, arrangement, [1], setting(model, steps=4), start_latent=start, denoise=1.0
        ),
        fresh,
    )
    with pytest.raises(InputError, match="start latent"):
        model.sample(
            conditioning,
            arrangement,
            [1],
            setting(model, steps=4),
            start_latent=start[..., :4],
            denoise=0.5,
        )


def test_cancel_from_the_callback(model):
    class Stop(Exception):
        pass

    def stop(step, steps, z):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        model.generate("a bell", steps=50, seconds=0.64, callback=stop)
    assert model.generate("a bell", steps=1, seconds=0.64).waveforms.shape == (1, 1, 10_240)


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"steps": 0}, "steps"),
        ({"steps": 10**6}, "steps"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": 1e5}, "seconds"),
        ({"solver": "rk45"}, "solver"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seed"),
        ({"denoise": 0.0}, "denoise"),
        ({"shift": -1.0}, "shift"),
    ],
)
def test_absurd_values_are_refused(model, bad, words):
    with pytest.raises(InputError, match=words):
        model.generate("a bell", **bad)


def test_start_beyond_the_target(model):
    late = prepare_reference(tone(440, 0.5), 16_000, "a bell", starts=[5.0])
    with pytest.raises(InputError, match="reference 1.*5 s.*2 s"):
        model.generate("a bell", [late], seconds=2.0, steps=1)
    with pytest.raises(InputError, match="strength"):
        prepare_reference(tone(440, 0.5), 16_000, "a bell", strength=-2.0)


@pytest.mark.parametrize("caption", ["", "crow " * 2000, "🔔🔔 zyzzyva", "a\nb\tc"])
def test_strange_captions(model, caplog, caption):
    with caplog.at_level(logging.WARNING):
        reference = prepare_reference(tone(440, 0.5), 16_000, caption)
        result = model.generate(caption, [reference], seconds=0.64, steps=1)
        assert torch.isfinite(result.waveforms).all()
    cut = len(caption) > 1000
    assert ("only the first 50 tokens" in caplog.text) == cut
    assert any("50 tokens" in w for w in result.warnings) == cut


def test_half_precision_weights_and_operations(folder, references):
    made = []

    class Operations(torch.nn.Module):
        def __getattr__(self, name):
            made.append(name)
            return getattr(torch.nn, name)

    full = load_model(folder).generate("a bell", references, seconds=0.64, steps=2)
    half = load_model(folder, dtype=torch.bfloat16, operations=Operations())
    assert {
        "Conv2d",
        "Linear",
        "GroupNorm",
        "LayerNorm",
        "Conv1d",
        "ConvTranspose1d",
        "Embedding",
    } <= set(made)
    half = half.generate("a bell", references, seconds=0.64, steps=2)
    assert half.waveforms.shape == full.waveforms.shape


@pytest.mark.parametrize(
    "part",
    [
        "flow.safetensors",
        "vae.safetensors",
        "vocoder.safetensors",
        "arranger.safetensors",
        "text_encoder/config.json",
    ],
)
def test_missing_part_is_named(tmp_path, part):
    folder = make_folder(tmp_path / "m")
    (folder / part).unlink()
    with pytest.raises(CheckpointError, match=part.split("/")[0].split(".")[0]):
        load_model(folder)


def test_swapped_and_foreign_parts(tmp_path, folder):
    with pytest.raises(CheckpointError, match="expected the weights of part 'vae', found 'flow'"):
        load_model(folder, vae=folder / "flow.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="x.safetensors"):
        load_model(folder, flow=tmp_path / "x.safetensors")
    other = VAEConfig(channels=8, multipliers=(1, 2), num_res_blocks=1, latent_channels=2, groups=4)
    save_weights(tmp_path / "v.safetensors", AutoencoderKL(other).state_dict(), "vae", other)
    with pytest.raises(CheckpointError, match="latents have 2 channels"):
        load_model(folder, vae=tmp_path / "v.safetensors")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="config.json"):
        load_model(tmp_path / "empty")


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not readable JSON"),
        ("[]", "JSON object"),
        ('{"format": "dreamaudio", "name": "x", "vea": {}}', "vea"),
        ('{"format": "dreamaudio", "name": "x", "vae": {"chanels": 3}}', "chanels"),
    ],
)
def test_broken_config(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path)


def test_t5_encoder(tmp_path, folder, references):
    t5 = make_folder(tmp_path / "t5", text="t5")
    model = load_model(t5)
    tokens, mask = model.text_encoder.encode(["", "a crow caws then a bell rings"])
    assert tokens.shape == (2, 50, 24) and mask[0].any() and mask[1].sum() > mask[0].sum()
    assert model.generate("a bell", references, seconds=0.64, steps=1).waveforms.shape == (
        1,
        1,
        10_240,
    )
    config = TextConfig(kind="t5", dim=24)
    with pytest.raises(CheckpointError, match="no such folder"):
        load_text_encoder("google/flan-t5-large", config)
    with pytest.raises(CheckpointError, match="expected a t5 model, found 'bert'"):
        load_text_encoder(folder / "text_encoder", config)
    with pytest.raises(CheckpointError, match="size 32"):
        load_text_encoder(t5 / "text_encoder", TextConfig(kind="t5", dim=32))


def test_nan_is_an_error_in_every_stage_and_no_silent_success(model, references):
    latents = torch.zeros(1, *model.config.latent_shape(1.0))
    latents[0, 0, 0, 0] = math.nan
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 1.0)
    with pytest.raises(InputError, match="sampled latents: NaN"):
        model.sample(conditioning, arrangement, start_latent=latents, denoise=0.5)
    with pytest.raises(InputError, match="decoded mel: NaN"):
        model.decode(latents)
    with pytest.raises(InputError, match="vocoder: NaN"):
        model.vocode(torch.full((1, 1, 64, model.config.audio.n_mels), math.nan))


def test_out_of_memory_while_sampling_is_tried_once_more_row_by_row(model, references, monkeypatch):
    conditioning = model.condition("a crow caws, then a bell rings", references)
    arrangement = model.arrange(conditioning, 1.0)
    settings = model.config.sampling.override(steps=3, guidance=2.0, reference_guidance=3.0)

    def sample():
        return model.sample(conditioning, arrangement, (1, 2), settings)

    whole, rows, most = sample(), [], 1
    denoise = model.flow.denoise

    def limited(z, *given):
        rows.append(len(z))
        if len(z) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(z, *given)

    monkeypatch.setattr(model.flow, "denoise", limited)
    assert torch.allclose(sample(), whole, atol=1e-4)
    # Six rows at once are tried only in the first step.
    assert rows[0] == 6 and set(rows[1:]) == {1} and len(rows) % 6 == 1
    most = 0
    with pytest.raises(torch.OutOfMemoryError, match="while sampling, also in smaller pieces"):
        sample()


def test_out_of_memory_is_tried_once_more_in_smaller_pieces(model, monkeypatch):
    latents = 0.1 * torch.randn(2, *model.config.latent_shape(1.0))
    whole = model.vocode(model.decode(latents), 1.0)
    calls = []

    def limited(function, most):
        def call(tensor, *extra):
            calls.append((len(tensor), *extra))
            if len(tensor) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return function(tensor, *extra)

        return call

    decode, vocode = model.vae.decode, model.vocoder.vocode
    monkeypatch.setattr(model.vae, "decode", limited(decode, 1))
    monkeypatch.setattr(model.vocoder, "vocode", limited(vocode, 1))
    assert torch.allclose(model.vocode(model.decode(latents), 1.0), whole, atol=1e-3)
    assert calls == [(2,), (1,), (1,), (2,), (1, 128), (1, 128)]

    monkeypatch.setattr(model.vae, "decode", limited(decode, 0))
    with pytest.raises(torch.OutOfMemoryError, match="while decoding, also in smaller pieces"):
        model.decode(latents)
    # Other errors stay what they are, and are not tried twice.
    monkeypatch.setattr(model.vae, "decode", lambda tensor: tensor.reshape(7, -1, 11))
    with pytest.raises(RuntimeError, match="invalid"):
        model.decode(latents)


def limited_rows(function, most, calls, size):
    """`function`, which has no memory for more than `most` of what `size` measures."""

    def call(tensor, *extra):
        calls.append(size(tensor))
        if calls[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return function(tensor, *extra)

    return call


def test_out_of_memory_while_encoding_texts(model, references, monkeypatch):
    whole, means = model.condition("a crow caws", references), model.embed(["a crow", "a bell"])
    encoder, calls = model.text_encoder, []
    forward, size = encoder.forward, torch.numel
    # Padded texts are too long, as are two at once.
    monkeypatch.setattr(encoder, "forward", limited_rows(forward, 10, calls, size))
    small = model.condition("a crow caws", references)
    for name in ("prompt_tokens", "caption_tokens", "empty_tokens"):
        one, other = getattr(whole, name), getattr(small, name)
        assert torch.equal(one.mask, other.mask)
        used = one.mask[..., None]
        assert torch.allclose(one.features * used, other.features * used, atol=1e-4)
    assert torch.allclose(model.embed(["a crow", "a bell"]), means, atol=1e-5)
    assert calls[0] == encoder.config.max_tokens and 1 < calls[1] <= 10
    monkeypatch.setattr(encoder, "forward", limited_rows(forward, 0, [], size))
    for stage in (lambda: model.condition("a crow caws"), lambda: model.embed(["a crow"])):
        with pytest.raises(torch.OutOfMemoryError, match="while encoding texts, also in smaller"):
            stage()


@pytest.mark.parametrize("patches", [True, False])
def test_out_of_memory_while_encoding_and_decoding_one_sound(folder, monkeypatch, caplog, patches):
    model = load_model(folder)
    if patches:
        # As `mini` has one, narrower; bands and channels are those of the small model.
        config = replace(model.config.vae, patch_size=4, multipliers=(1,), channels=16)
        torch.manual_seed(0)
        model.vae = AutoencoderKL(config).eval().requires_grad_(False)
        model.config = replace(model.config, vae=config)
    rate, vae, calls = model.config.audio.sample_rate, model.vae, []
    sound = prepare_reference(0.3 * torch.sin(torch.arange(8 * rate) * 0.2), rate, "a hum")
    conditioning = model.condition("a hum", [sound.at([0.5])])
    arrangement = model.arrange(conditioning, 10.0)
    whole = model.encode_references(conditioning.references, arrangement)
    latent = model.encode(sound.waveform, 10.0)
    mel = model.decode(latent)
    encode, decode, frames = vae.encode, vae.decode, lambda x: x.shape[2]
    most = 64 * model.config.vae.stride
    monkeypatch.setattr(vae, "encode", limited_rows(encode, most, calls, frames))
    monkeypatch.setattr(vae, "decode", limited_rows(decode, 64, calls, frames))
    small = model.encode_references(conditioning.references, arrangement)
    assert calls[0] > most and all(count <= most for count in calls[1:]) and len(calls) > 3
    for one, other in (
        (whole.latents, small.latents),
        (latent, model.encode(sound.waveform, 10.0)),
        (mel, model.decode(latent)),
    ):
        assert one.shape == other.shape
        # Convolutions with random weights; a VAE on patches gives the same.
        near = 1e-5 if patches else 0.5
        assert (one - other).abs().mean() < near * one.abs().mean()
    assert ("stretch by stretch" in caplog.text) is not patches
    monkeypatch.setattr(vae, "encode", limited_rows(encode, 0, [], frames))
    with pytest.raises(torch.OutOfMemoryError, match="while encoding a reference, also in small"):
        model.encode_references(conditioning.references, arrangement)
    with pytest.raises(torch.OutOfMemoryError, match="while encoding a sound"):
        model.encode(sound.waveform, 10.0)


def test_memory_of_a_stage_that_failed_is_released(model, references, monkeypatch):
    """Nothing of the first try is held while the second runs, nor after the error."""
    import weakref

    held, alive = [], []

    def fail(mel):
        alive.append(sum(tensor() is not None for tensor in held))
        kept = torch.zeros(1000)
        held.append(weakref.ref(kept))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.vae, "encode", fail)
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 1.0)
    with pytest.raises(torch.OutOfMemoryError):
        model.encode_references(conditioning.references, arrangement)
    assert alive == [0, 0] and held[-1]() is None

    def no_context(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.undo()
    monkeypatch.setattr(model.flow, "precompute", no_context)
    with pytest.raises(torch.OutOfMemoryError, match="while preparing the references for sampl"):
        model.sample(conditioning, arrangement)
