"""Baselines as systems under test, on tiny pipelines of random weights and of the published ones'
classes.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    EncodecConfig,
    EncodecModel,
    GPT2Config,
    GPT2Model,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

import dreamaudio_core
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.evaluation.systems import by_name as systems
from dreamaudio_core.evaluation.systems.by_name import load_generator
from dreamaudio_core.evaluation.systems.retrieval import RetrievalGenerator
from dreamaudio_core.retrieval import SoundLibrary
from dreamaudio_core.scene.scenes import SceneReference

diffusers = pytest.importorskip("diffusers")
EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"
SETTINGS = {"steps": 2, "seconds": 0.032}


def roberta(folder: Path) -> RobertaTokenizer:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + ["Ġ"]
    folder.mkdir(parents=True)
    vocabulary = {
        token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return RobertaTokenizer.from_pretrained(folder, model_max_length=24)


def t5() -> tuple[T5TokenizerFast, T5EncoderModel]:
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(chr(c), -3.0) for c in range(ord("a"), ord("z") + 1)]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=24)
    config = T5Config(vocab_size=40, d_model=24, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config)


def clap_text() -> ClapTextConfig:
    return ClapTextConfig(
        vocab_size=40,
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        projection_dim=12,
    )


def vae_and_vocoder() -> dict:
    vae = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8,
            sampling_rate=16_000,
            upsample_initial_channel=8,
            upsample_rates=[4, 4],
            upsample_kernel_sizes=[8, 8],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    return {"vae": vae, "vocoder": vocoder}


def ddim():
    return diffusers.DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
    )


def unet(**options):
    return diffusers.UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        sample_size=8,
        **options,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One saved pipeline of each kind."""
    base = tmp_path_factory.mktemp("baselines")
    torch.manual_seed(0)
    made = {kind: base / kind for kind in ("audioldm", "audioldm2", "tango", "audiogen")}
    text_encoder = ClapTextModelWithProjection(clap_text())
    # AudioLDM hears its text as a class embedding alone: its attention layers look at the latent
    # itself.
    network = unet(
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=12,
        class_embeddings_concat=True,
        cross_attention_dim=(8, 16),
    )
    diffusers.AudioLDMPipeline(
        text_encoder=text_encoder,
        tokenizer=roberta(base / "a"),
        unet=network,
        scheduler=ddim(),
        **vae_and_vocoder(),
    ).save_pretrained(made["audioldm"])

    tokenizer, encoder = t5()
    sound = ClapAudioConfig(
        spec_size=64,
        window_size=4,
        num_mel_bins=64,
        patch_size=4,
        patch_stride=4,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        hidden_size=16,
        patch_embeds_hidden_size=8,
        projection_dim=12,
    )
    config = ClapConfig(
        text_config=clap_text().to_dict(), audio_config=sound.to_dict(), projection_dim=12
    )
    # As in the published folders, the language model is saved without a head.
    language_model = GPT2Model(
        GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    )
    language_model.config.max_new_tokens = 4
    network = diffusers.AudioLDM2UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        cross_attention_dim=([None, 16, 24], [None, 16, 24]),
    )
    diffusers.AudioLDM2Pipeline(
        text_encoder=ClapModel(config),
        text_encoder_2=encoder,
        tokenizer=roberta(base / "b"),
        tokenizer_2=tokenizer,
        projection_model=diffusers.AudioLDM2ProjectionModel(12, 24, 16),
        language_model=language_model,
        unet=network,
        feature_extractor=ClapFeatureExtractor(),
        scheduler=ddim(),
        **vae_and_vocoder(),
    ).save_pretrained(made["audioldm2"])

    parts = {
        "unet": unet(cross_attention_dim=24),
        "text_encoder": encoder,
        "tokenizer": tokenizer,
        **vae_and_vocoder(),
        "scheduler": diffusers.DDPMScheduler(prediction_type="v_prediction", clip_sample=False),
    }
    for name, part in parts.items():
        part.save_pretrained(made["tango"] / name)

    codec = EncodecConfig(
        sampling_rate=16_000,
        num_filters=4,
        upsampling_ratios=[8, 8],
        codebook_size=16,
        hidden_size=8,
        codebook_dim=8,
        num_lstm_layers=1,
        target_bandwidths=[2.0],
        normalize=False,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=16,
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_codebooks=2,
        pad_token_id=16,
        bos_token_id=16,
    )
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(
            text_encoder=encoder.config.to_dict(),
            audio_encoder=codec.to_dict(),
            decoder=decoder.to_dict(),
        ),
        text_encoder=encoder,
        audio_encoder=EncodecModel(codec),
    )
    for layer in model.audio_encoder.quantizer.layers:
        # Codebooks start at zero, where every token sounds alike.
        layer.codebook.embed.normal_()
    model.generation_config.decoder_start_token_id = model.generation_config.pad_token_id = 16
    model.save_pretrained(made["audiogen"])
    tokenizer.save_pretrained(made["audiogen"])
    return made


def check(generator, length: int, rate: int = 16_000) -> None:
    """A finite sound of the right length that depends on prompt and seed, and not on the
    references.
    """
    assert generator.sample_rate == rate
    sound = generator.generate("a dog barks", [], 3)
    assert (
        sound.shape == (length,)
        and sound.dtype == torch.float32
        and torch.isfinite(sound).all()
        and sound.any()
    )
    reference = SceneReference(EXAMPLES / "crow.flac", "a crow caws")
    torch.manual_seed(11)
    torch.testing.assert_close(generator.generate("a dog barks", [reference], 3), sound)
    assert not torch.equal(generator.generate("a dog barks", [], 4), sound)


@pytest.mark.parametrize("kind", ["audioldm", "audioldm2", "tango"])
def test_diffusion_baselines(folders, kind):
    generator = load_generator(f"{kind}:{folders[kind]}", **SETTINGS)
    check(generator, 512)
    assert not torch.equal(
        generator.generate("rain", [], 3), generator.generate("a dog barks", [], 3)
    )
    other = load_generator(f"{kind}:{folders[kind]}", **SETTINGS | {"guidance": 1.5})
    assert other.identity != generator.identity and other.name == generator.name
    assert not torch.equal(
        other.generate("a dog barks", [], 3), generator.generate("a dog barks", [], 3)
    )


def test_tango_starts_from_the_seed_and_follows_the_guidance(folders):
    generator = load_generator(f"tango:{folders['tango']}", **SETTINGS | {"guidance": 0.0})
    # Without guidance the prompt has no part in it.
    torch.testing.assert_close(
        generator.generate("rain", [], 5), generator.generate("a dog barks", [], 5)
    )


def test_audiogen(folders):
    generator = load_generator(f"audiogen:{folders['audiogen']}", seconds=0.032)
    check(generator, 512)
    state = torch.get_rng_state()
    generator.generate("a dog barks", [], 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_identity_follows_the_weights(folders, tmp_path):
    copy = Path(shutil.copytree(folders["tango"], tmp_path / "tango"))
    name = f"tango:{folders['tango']}"
    assert (
        load_generator(name, **SETTINGS).identity
        == load_generator(f"tango:{copy}", **SETTINGS).identity
    )
    parts = diffusers.AutoencoderKL.from_pretrained(copy / "vae")
    parts.decoder.conv_in.bias.data += 1
    parts.save_pretrained(copy / "vae")
    assert (
        load_generator(name, **SETTINGS).identity
        != load_generator(f"tango:{copy}", **SETTINGS).identity
    )


@pytest.mark.parametrize("kind", ["audioldm", "audioldm2", "tango", "audiogen"])
def test_what_is_no_model_is_named(folders, tmp_path, kind):
    with pytest.raises(CheckpointError, match="found nothing.*huggingface.co"):
        load_generator(f"{kind}:{tmp_path / 'none'}")
    with pytest.raises(CheckpointError, match="found a file"):
        load_generator(f"{kind}:{EXAMPLES / 'crow.flac'}")
    with pytest.raises(CheckpointError, match=f"{kind}.*cannot be read"):
        load_generator(f"{kind}:{tmp_path}")
    with pytest.raises(InputError, match="reference-guidance: .* has no such setting"):
        load_generator(f"{kind}:{folders[kind]}", reference_guidance=2.0)


@pytest.mark.parametrize("kind, part", [("tango", "vae"), ("audioldm2", "language_model")])
def test_pickled_weights_of_a_part_are_refused(folders, tmp_path, kind, part):
    copy = Path(shutil.copytree(folders[kind], tmp_path / kind))
    for file in (copy / part).glob("*.safetensors"):
        name = {"vae": "diffusion_pytorch_model.bin"}.get(part, "pytorch_model.bin")
        torch.save(load_file(file), copy / part / name)
        file.unlink()
    with pytest.raises(CheckpointError, match=f"{kind}.*cannot be read"):
        load_generator(f"{kind}:{copy}", **SETTINGS)


@pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is not None, reason="audiocraft is installed"
)
def test_a_folder_of_audiocraft_asks_for_audiocraft(tmp_path):
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="install audiocraft"):
        load_generator(f"audiogen:{tmp_path}")


class Recorder:
    """In the place of a `PipelineGenerator`: keeps what it is given."""

    name, sample_rate, identity = "recorder", 16_000, "weights"

    class model:
        max_references = 2

    def generate(self, prompt, references, seed):
        self.given = prompt, references, seed
        return torch.ones(4)


def test_retrieval_gives_the_model_what_it_finds(tmp_path):
    library = SoundLibrary(tmp_path / "library")
    library.add(EXAMPLES)
    pipeline = Recorder()
    generator = RetrievalGenerator(tmp_path / "library", pipeline)
    prompt = "a guitar plays soft harmonics, then a crow caws"
    aside = SceneReference(EXAMPLES / "cash_register.flac", "a cash register rings")
    assert generator.generate(prompt, [aside], 7).shape == (4,)
    assert pipeline.given[0::2] == (prompt, 7)
    assert [(r.audio.name, r.caption) for r in pipeline.given[1]] == [
        ("guitar.flac", "a guitar plays soft harmonics"),
        ("crow.flac", "a crow caws"),
    ]
    generator.generate(f"{prompt}, then a cash register rings and a dog barks", [], 7)
    assert len(pipeline.given[1]) == 2
    before = generator.identity
    library.remove(EXAMPLES / "crow.flac")
    assert RetrievalGenerator(tmp_path / "library", pipeline).identity != before


def test_re_audioldm_s_idea_looks_up_three_pairs_for_the_whole_prompt(tmp_path):
    library = SoundLibrary(tmp_path / "library")
    library.add(EXAMPLES)
    pipeline = Recorder()
    pipeline.model = type("model", (), {"max_references": 8})
    generator = RetrievalGenerator(tmp_path / "library", pipeline, pairs=3)
    assert "the idea of Re-AudioLDM: 3 retrieved" in generator.name
    generator.generate("a crow caws", [], 7)
    found = [r.audio.name for r in pipeline.given[1]]
    assert len(found) == 3 and found[0] == "crow.flac"
    one = RetrievalGenerator(tmp_path / "library", pipeline)
    one.generate("a crow caws", [], 7)
    assert len(pipeline.given[1]) == 1 and one.identity != generator.identity
    # The prompt is one question: what comes first is not the first event's sound by rule.
    prompt = "a crow caws, then a cash register rings"
    hits = library.search(prompt, 2, whole=True)
    assert len({hit.event for hit in hits}) == 1 and hits[0].score >= hits[1].score


def test_names_of_retrieval(tmp_path, monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return Recorder()

    monkeypatch.setattr(systems, "load_pipeline_generator", load)
    for folder in ("library", "a+b"):
        SoundLibrary(tmp_path / folder).add(EXAMPLES)
        load_generator(f"retrieval:{tmp_path / folder}", steps=3)
        found = load_generator(f"retrieval:{tmp_path / folder}+other/model")
        assert found.pairs is None
    load_generator("some/model", free=True)
    assert load_generator(f"re-audioldm:{tmp_path / 'library'}").pairs == 3
    assert asked.pop() == ("mini", {"device": "cpu"})
    cpu = {"device": "cpu"}
    assert asked == [("mini", cpu | {"steps": 3}), ("other/model", cpu)] * 2 + [
        ("some/model", cpu | {"free": True})
    ]
    for text in ("", "+mini", f"{tmp_path / 'library'}+", str(tmp_path / "none")):
        with pytest.raises(InputError, match="retrieval|library add"):
            load_generator(f"retrieval:{text}")
