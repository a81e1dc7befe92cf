"""The pipeline on small random weights in real model folders: stages, counts, seeds, damage."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dreamaudio_core.cache import Cache
from dreamaudio_core.config import TextConfig, VAEConfig
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.networks.layers import Attention
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.text_encoder import load_text_encoder
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.pipeline import load_model
from dreamaudio_core.rendering.placing import silence_latent
from dreamaudio_core.sampling.flow import SOLVERS, Guidance
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import MISSING, Placement
from dreamaudio_core.weights.checkpoint import save_weights
from small_model import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def tone(frequency, seconds, rate=16_000):
    return 0.4 * torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def references():
    return [
        prepare_reference(tone(440, 0.8), 16_000, "a bell rings", start=0.5),
        prepare_reference(tone(900, 0.6), 16_000, "a crow caws"),
    ]


def test_stages_and_shapes(model, references):
    conditioning = model.condition("a crow caws then a bell rings", references)
    arrangement = model.arrange(conditioning, 2.0)
    assert arrangement.latents.shape == (1, 2, 6, 26, 8)
    latent = model.sample(conditioning, arrangement, [1, 2], steps=3)
    assert latent.shape == (2, 4, 26, 8)
    mel = model.decode(latent)
    assert mel.shape == (2, 1, 208, 64)
    waveform = model.vocode(mel, 2.0)
    assert waveform.shape == (2, 32_000) and torch.isfinite(waveform).all()
    torch.testing.assert_close(
        waveform,
        model.generate(
            "a crow caws then a bell rings", references, seconds=2.0, seeds=[1, 2], steps=3
        ),
    )


def test_fixed_start_is_on_the_canvas(model, references):
    arrangement = model.arrange(model.condition("a bell rings", references[:1]), 2.0)
    assert arrangement.timeline == ((Placement(0.5, pytest.approx(0.8, abs=0.02)),),)
    presence = arrangement.latents[0, 0, 4, :, 0]
    frames = presence.nonzero()[:, 0]
    assert frames[0] == 6 and len(frames) == 10
    assert (arrangement.latents[0, 0, 5] == 1).all()
    free = model.arrange(model.condition("a bell rings", references[:1]), 2.0, free=True)
    assert free.latents[0, 0, 4, 0, 0] == 1 and (free.latents[0, 0, 5] == 0).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_frames_without_a_reference_stay_silent_where_nothing_is_missing(model, references, solver):
    conditioning = model.condition("a bell rings", references[:1])
    silence = silence_latent(model.vae, model.config.audio)
    latents = {}
    for missing in MISSING:
        arrangement = model.arrange(conditioning, 2.56, missing=missing)
        assert arrangement.complete == (missing != "generate")
        latents[missing] = model.sample(conditioning, arrangement, [1, 2], steps=4, solver=solver)
    # The bell fills frames 6 to 15 of 32, and two more on both sides are its own.
    away = [*range(4), *range(18, 32)]
    for missing in ("auto", "leave out"):
        torch.testing.assert_close(
            latents[missing][:, :, away], silence.expand(2, 4, 18, 8), atol=1e-5, rtol=1e-5
        )
    assert (latents["generate"][:, :, away] - silence).abs().mean() > 0.05
    assert (latents["leave out"][:, :, 4:18] - silence).abs().mean() > 0.05
    with pytest.raises(InputError, match="missing: expected one of auto, generate, leave out"):
        model.arrange(conditioning, 2.56, missing="perhaps")


def test_silence_gives_way_to_free_references_to_none_and_to_a_start_latent(model, references):
    conditioning = model.condition("a bell rings", references[:1])
    placed, free = (
        model.arrange(conditioning, 2.56, free=free, missing="leave out") for free in (False, True)
    )
    silence = silence_latent(model.vae, model.config.audio)

    def far(arrangement, some=conditioning, **options):
        return (
            (model.sample(some, arrangement, [1], steps=3, **options)[:, :, 20:] - silence)
            .abs()
            .mean()
        )

    assert far(placed) < 1e-5 < 0.05 < far(free)
    start = torch.randn(1, 4, 32, 8, generator=torch.Generator().manual_seed(0))
    assert far(placed, start_latent=start, denoise=0.5) > 0.05
    alone = model.condition("a bell rings")
    assert far(model.arrange(alone, 2.56, missing="leave out"), alone) > 0.05
    unused = replace(placed, timeline=((),), latents=placed.latents * 0)
    assert far(unused) > 0.05


def test_the_arranger_says_whether_something_is_missing(tmp_path, references):
    answers = {}
    for bias in (-50.0, 50.0):
        model = load_model(make_folder(tmp_path / f"{bias}"))
        arranger = Arranger(replace(model.config.arranger, completeness=True)).eval()
        torch.nn.init.zeros_(arranger.complete.weight)
        torch.nn.init.constant_(arranger.complete.bias, bias)
        model.arranger = arranger
        conditioning = model.condition("a bell rings", references[:1])
        answers[bias] = [
            model.arrange(conditioning, 2.56, missing=missing).complete for missing in MISSING
        ]
    assert answers == {-50.0: [False, False, True], 50.0: [True, False, True]}


def count_calls(monkeypatch, model):
    calls = {"reference": 0, "project": 0, "noise": 0}
    encode, project, forward = MRCUNet.encode_references, Attention.project, MRCUNet.denoise

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

    monkeypatch.setattr(MRCUNet, "encode_references", counted_encode)
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
    model.sample(conditioning, arrangement, [0, 1, 2], steps=steps)
    sites = sum(isinstance(m, Attention) and m.to_k.in_features == 24 for m in model.flow.modules())
    assert calls == {"reference": 1, "project": sites, "noise": steps}


def test_seed_decides_whatever_the_place_in_a_batch(model, references):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 2.0)
    batch = model.sample(conditioning, arrangement, [5, 6, 7], steps=4)
    alone = model.sample(conditioning, arrangement, [7], steps=4)
    torch.testing.assert_close(batch[2:], alone, atol=1e-4, rtol=1e-4)
    assert (batch[0] - batch[1]).abs().mean() > 0.1
    assert torch.equal(alone, model.sample(conditioning, arrangement, [7], steps=4))


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_agree_in_the_limit(model, references, solver):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 0.64)
    fine = model.sample(conditioning, arrangement, [3], steps=200, solver="heun")
    steps = 200 if solver == "euler" else 60
    coarse = model.sample(conditioning, arrangement, [3], steps=steps, solver=solver)
    assert (coarse - fine).abs().max() < 0.05 * fine.abs().max()


def test_guidance_terms_act(model, references):
    conditioning = model.condition("a crow caws", references, "a bell")
    arrangement = model.arrange(conditioning, 0.64)

    def run(guidance, refs=conditioning):
        return model.sample(refs, arrangement, [3], steps=3, guidance=guidance)

    base = run(Guidance(2.0))
    torch.testing.assert_close(run(Guidance(2.0, 2.0)), base)
    assert (run(Guidance(3.0)) - base).abs().max() > 1e-4
    assert (run(Guidance(2.0, 4.0)) - base).abs().max() > 1e-4
    interval = run(Guidance(2.0, interval=(0.5, 1.0)))
    assert (interval - base).abs().max() > 1e-4
    torch.testing.assert_close(run(Guidance(2.0, interval=(0.0, 1.0))), base)
    other = model.condition("a crow caws", references, "then rings rings")
    assert (run(Guidance(2.0), other) - base).abs().max() > 1e-5


def test_interval_with_references_that_follow_the_time(tmp_path, references):
    model = load_model(make_folder(tmp_path / "timed", "concat", reference_time_conditioning=True))
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 0.64)

    def run(guidance):
        return model.sample(
            conditioning, arrangement, [3], steps=4, solver="euler", guidance=guidance
        )

    torch.testing.assert_close(
        run(Guidance(4.0, interval=(1.0, 1.0))), run(Guidance(1.0)), atol=1e-5, rtol=1e-4
    )
    assert (run(Guidance(4.0, interval=(0.0, 0.3))) - run(Guidance(4.0))).abs().max() > 1e-4


def test_strength(model, references):
    def run(strength):
        refs = [replace(references[0], strength=strength), replace(references[1], start=1.2)]
        conditioning = model.condition("a crow caws", refs)
        return model.sample(conditioning, model.arrange(conditioning, 2.0), [3], steps=3)

    one, zero, two = run(1.0), run(0.0), run(2.0)
    assert (one - zero).abs().max() > 1e-4 and (two - one).abs().max() > 1e-4
    conditioning = model.condition("a crow caws", [replace(references[1], start=1.2)])
    alone = model.sample(conditioning, model.arrange(conditioning, 2.0), [3], steps=3)
    torch.testing.assert_close(zero, alone, atol=1e-4, rtol=1e-4)


def test_any_number_of_references(model, references):
    for count in (0, 1, 8):
        many = [
            prepare_reference(tone(200 + 90 * i, 0.5), 16_000, "a bell", start=0.1 * i)
            for i in range(count)
        ]
        waveform = model.generate("a bell rings", many, seconds=1.0, steps=1)
        assert waveform.shape == (1, 16_000) and torch.isfinite(waveform).all()
    with pytest.raises(InputError, match="at most 8, found 9"):
        model.condition("a bell", references * 4 + references[:1])


def test_concat_fills_empty_slots(tmp_path, references):
    model = load_model(make_folder(tmp_path / "concat", "concat"))
    conditioning = model.condition("a crow caws", references[:1])
    arrangement = model.arrange(conditioning)
    assert arrangement.latents.shape == (1, 3, 4, 32, 8)
    silence = model.arrange(model.condition("a crow caws")).latents
    torch.testing.assert_close(arrangement.latents[:, 1:], silence[:, 1:])
    assert (silence[0, 0] - silence[0, 0, :, :1]).abs().max() == 0
    with pytest.raises(InputError, match="at most 3"):
        model.condition("a", references * 2)
    aligned = load_model(make_folder(tmp_path / "aligned", "concat", aligned_references=4))
    assert aligned.generate("a bell", references * 2, steps=1).shape == (1, 40_960)


@pytest.mark.parametrize("architecture", ["unet", "shared"])
def test_variants_generate(tmp_path, references, architecture):
    model = load_model(make_folder(tmp_path / architecture, "concat", architecture=architecture))
    assert model.generate("a bell", references, steps=2).shape == (1, 40_960)


def test_ddpm_variant(tmp_path, references):
    model = load_model(make_folder(tmp_path / "ddpm", "concat", objective="ddpm"))
    seen = []
    waveform = model.generate(
        "a bell", references, steps=4, callback=lambda i, n, z: seen.append((i, n))
    )
    assert waveform.shape == (1, 40_960) and seen[-1] == (4, 4)


def test_time_conditioned_references(tmp_path, references):
    model = load_model(make_folder(tmp_path / "timed", "concat", reference_time_conditioning=True))
    batch = model.generate("a bell", references, steps=2, seeds=[1, 2])
    alone = model.generate("a bell", references, steps=2, seeds=[2])
    torch.testing.assert_close(batch[1:], alone, atol=1e-4, rtol=1e-4)


def test_audio_to_audio(model, references):
    conditioning = model.condition("a crow caws", references)
    arrangement = model.arrange(conditioning, 2.0)
    start = model.encode(tone(300, 2.0), 2.0)
    assert start.shape == (1, 4, 26, 8)
    far = model.sample(conditioning, arrangement, [1], steps=4, start_latent=start, denoise=0.9)
    near = model.sample(conditioning, arrangement, [1], steps=4, start_latent=start, denoise=0.02)
    assert (near - start).abs().mean() < (far - start).abs().mean()
    fresh = model.sample(conditioning, arrangement, [1], steps=4)
    torch.testing.assert_close(
        model.sample(conditioning, arrangement, [1], steps=4, start_latent=start, denoise=1.0),
        fresh,
    )
    with pytest.raises(InputError, match="start latent"):
        model.sample(
            conditioning, arrangement, [1], steps=4, start_latent=start[..., :4], denoise=0.5
        )


def test_cancel_from_the_callback(model):
    class Stop(Exception):
        pass

    def stop(step, steps, z):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        model.generate("a bell", steps=50, seconds=0.64, callback=stop)
    assert model.generate("a bell", steps=1, seconds=0.64).shape == (1, 10_240)


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
    late = prepare_reference(tone(440, 0.5), 16_000, "a bell", start=5.0)
    with pytest.raises(InputError, match="reference 1.*5 s.*2 s"):
        model.generate("a bell", [late], seconds=2.0, steps=1)
    with pytest.raises(InputError, match="strength"):
        prepare_reference(tone(440, 0.5), 16_000, "a bell", strength=-2.0)


@pytest.mark.parametrize("caption", ["", "crow " * 2000, "🔔🔔 zyzzyva", "a\nb\tc"])
def test_strange_captions(model, caplog, caption):
    with caplog.at_level(logging.WARNING):
        reference = prepare_reference(tone(440, 0.5), 16_000, caption)
        assert torch.isfinite(model.generate(caption, [reference], seconds=0.64, steps=1)).all()
    assert ("only the first 50 tokens" in caplog.text) == (len(caption) > 1000)


def test_cache_spares_work_and_stays_bounded(folder, monkeypatch, references):
    cache = Cache(2**20)
    model = load_model(folder, cache=cache)
    model.generate("a bell", references, seconds=1.0, steps=1)
    encoded = []
    monkeypatch.setattr(type(model.text_encoder), "encode", lambda *a, **k: encoded.append("text"))
    monkeypatch.setattr(type(model.vae), "encode", lambda *a, **k: encoded.append("sound"))
    model.generate("a bell", references, seconds=1.0, steps=1, seeds=[9])
    assert encoded == []
    small = Cache(5000)
    for i in range(10):
        small.get_or(i, lambda: torch.zeros(500))
    assert len(small) == 2 and small.bytes == 4000


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
    assert half.generate("a bell", references, seconds=0.64, steps=2).shape == full.shape


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
        ("[]", "dreamaudio"),
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
    assert model.generate("a bell", references, seconds=0.64, steps=1).shape == (1, 10_240)
    config = TextConfig(kind="t5", dim=24)
    with pytest.raises(CheckpointError, match="no such folder"):
        load_text_encoder("google/flan-t5-large", config)
    with pytest.raises(CheckpointError, match="expected a t5 model, found 'bert'"):
        load_text_encoder(folder / "text_encoder", config)
    with pytest.raises(CheckpointError, match="size 32"):
        load_text_encoder(t5 / "text_encoder", TextConfig(kind="t5", dim=32))
