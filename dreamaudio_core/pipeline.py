"""The whole system, stage by stage: condition, arrange, sample, decode, vocode (paper, figure 2)."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Sequence

import torch
from torch import Tensor, nn

from .audio import LogMel
from .audio.griffin_lim import GriffinLim
from .cache import Cache
from .config import ArrangerConfig, ModelConfig, MRCConfig, VocoderConfig, from_dict
from .errors import CheckpointError, InputError
from .networks.arranger import Arranger, arrange, default_timeline, references_suffice
from .networks.bigvgan import BigVGAN, load_official
from .networks.mrc import MRCUNet
from .networks.text_encoder import TextEncoder, load_text_encoder
from .networks.vae import AutoencoderKL
from .rendering.placing import quiet_frames, reference_canvas, silence_latent
from .sampling import ddpm as diffusion
from .sampling import flow
from .sampling.flow import Guidance, StepCallback
from .scene.reference import Reference
from .scene.timeline import MISSING, Placements
from .weights.checkpoint import load_state, load_vae, load_weights, require_pickle

log = logging.getLogger(__name__)
MODELS = Path(__file__).parent / "models"
DEFAULT_STEPS = {"flow": 24, "ddpm": 200}


@dataclass
class Conditioning:
    """Encoded prompt C, captions E and the prepared references; row 0 of the tokens is the prompt,
    row 1 the negative prompt, row 2 the empty caption, and the captions of the references follow.
    """

    prompt: str
    references: tuple[Reference, ...]
    tokens: Tensor
    mask: Tensor

    @property
    def heard(self) -> list[int]:
        """Numbers of the references that sound at all: one of strength 0 is none."""
        return [k for k, reference in enumerate(self.references) if reference.strength != 0.0]


@dataclass
class Arrangement:
    """References R on the target's time axis.

    `timeline` holds each reference's placements (`None`: free); `latents` is [1, K, C + 2, T, F]
    for the placed fusion and [1, K, C, T, F] for the concatenating one, whose empty slots are
    silence. `complete` says that nothing shall be heard but the references.
    """

    seconds: float
    timeline: tuple[Placements, ...]
    latents: Tensor
    complete: bool = False


@dataclass
class DreamAudio:
    """All parts of a model, with one method a stage.

    Parameters
    ----------
    config
        Sizes and objective.
    flow, vae, vocoder, text_encoder, arranger
        The parts; each may be exchanged for another of the same configuration.
    device
        Where the stages compute; parts are expected there.
    cache
        Keeps encoded texts and references between calls, if the caller wants that.
    """

    config: ModelConfig
    flow: MRCUNet
    vae: AutoencoderKL
    vocoder: BigVGAN
    text_encoder: TextEncoder
    arranger: Arranger | None = None
    device: torch.device | str = "cpu"
    cache: Cache = field(default_factory=lambda: Cache(0))

    def __post_init__(self) -> None:
        # Cached results belong to the weights they came from, and addresses are used again once a
        # part is freed.
        for part in (self.vae, self.text_encoder, self.arranger):
            if part is not None and not hasattr(part, "cache_token"):
                part.cache_token = uuid.uuid4().hex

    @property
    def slots(self) -> int:
        """How many references the model takes at most."""
        return self.flow.slots

    def _texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        def encode(text: str) -> tuple[Tensor, Tensor]:
            tokens, mask = self.text_encoder.encode([text], self.device)
            return tokens[0], mask[0]

        rows = [
            self.cache.get_or(
                ("text", self.text_encoder.cache_token, text), lambda t=text: encode(t)
            )
            for text in texts
        ]
        return torch.stack([tokens for tokens, _ in rows]), torch.stack([mask for _, mask in rows])

    def _silence(self) -> Tensor:
        return self.cache.get_or(
            ("silence", self.vae.cache_token), lambda: silence_latent(self.vae, self.config.audio)
        )

    @torch.inference_mode()
    def condition(
        self, prompt: str, references: Sequence[Reference] = (), negative_prompt: str = ""
    ) -> Conditioning:
        """Encode the prompt and the captions.

        Raises
        ------
        InputError
            If there are more references than the model has slots.
        """
        references = tuple(references)
        if len(references) > self.slots:
            raise InputError(
                f"references: this model takes at most {self.slots}, found {len(references)}; leave out "
                f"{len(references) - self.slots}"
            )
        texts = [prompt or "", negative_prompt or "", "", *(r.caption for r in references)]
        for text in texts:
            if self.text_encoder.is_cut(text):
                log.warning(
                    "only the first %d tokens of %r are used",
                    self.text_encoder.config.max_tokens,
                    text[:40] + "...",
                )
        tokens, mask = self._texts(texts)
        return Conditioning(prompt or "", references, tokens, mask)

    @torch.inference_mode()
    def timeline(self, conditioning: Conditioning, seconds: float) -> tuple[Placements, ...]:
        """Where each reference sounds: as the user has fixed it, else as the arranger reads the
        prompt.
        """
        references = conditioning.references
        fixed = [r.timeline(seconds, f"reference {i + 1}") for i, r in enumerate(references)]
        if not references or all(f is not None for f in fixed):
            return tuple(fixed)
        lengths = [r.seconds for r in references]
        if self.arranger is None or not conditioning.prompt.strip():
            guess = default_timeline(lengths, seconds)
            return tuple(g if f is None else f for f, g in zip(fixed, guess))
        tokens, mask = conditioning.tokens, conditioning.mask
        return tuple(
            arrange(
                self.arranger,
                tokens[0],
                mask[0],
                tokens[3:],
                mask[3:],
                lengths,
                seconds,
                fixed=fixed,
            )
        )

    @torch.inference_mode()
    def complete(self, conditioning: Conditioning, seconds: float, missing: str = "auto") -> bool:
        """Whether nothing else than the references shall be heard; `missing` is one of `MISSING`."""
        if missing not in MISSING:
            raise InputError(f"missing: expected one of {', '.join(MISSING)}, found {missing!r}")
        heard = conditioning.heard
        if not heard or missing != "auto":
            return bool(heard) and missing == "leave out"
        if self.arranger is None or not conditioning.prompt.strip():
            return True
        tokens, mask = conditioning.tokens, conditioning.mask
        captions = [3 + k for k in heard]
        lengths = [conditioning.references[k].seconds for k in heard]
        return references_suffice(
            self.arranger, tokens[0], mask[0], tokens[captions], mask[captions], lengths, seconds
        )

    @torch.inference_mode()
    def arrange(
        self,
        conditioning: Conditioning,
        seconds: float | None = None,
        free: bool = False,
        missing: str = "auto",
    ) -> Arrangement:
        """Encode the references where they sound.

        Parameters
        ----------
        seconds
            Length of the target; the model's own by default.
        free
            Leave every reference at time 0 and let the network move it (the paper's mode).
        missing
            What becomes of parts of the prompt that no reference stands for, one of `MISSING`.
            Where references are not placed, or none of them sounds, the network decides.
        """
        seconds = self.config.seconds if seconds is None else float(seconds)
        if not 0.3 <= seconds <= 120.0:
            raise InputError(
                f"seconds: expected a length from 0.3 to 120, found {seconds:g}; the model was trained on "
                f"{self.config.seconds:g}"
            )
        channels, frames, bands = self.config.latent_shape(seconds)
        log_mel = LogMel(self.config.audio, device=self.device)
        silence = self._silence()
        references = conditioning.references
        placed = self.config.mrc.reference_fusion == "placed"
        free = free or not placed
        timeline: tuple[Placements, ...] = (None,) * len(references)
        if not free:
            timeline = self.timeline(conditioning, seconds)
        rows = []
        for reference, places in zip(references, timeline):
            key = ("reference", self.vae.cache_token, reference.digest, places, frames)
            waveform = reference.waveform.to(self.device)
            rows.append(
                self.cache.get_or(
                    key,
                    lambda w=waveform, p=places: reference_canvas(
                        self.vae, log_mel, silence, w, p, frames
                    ),
                )
            )
        if not placed:
            empty = silence.expand(channels, frames, bands)
            rows = [row[:channels] for row in rows]
            rows += [empty] * (max(self.config.mrc.num_references, len(rows)) - len(rows))
        elif not rows:
            rows = [silence.new_zeros(channels + 2, frames, bands)]
        complete = self.complete(conditioning, seconds, missing)
        return Arrangement(seconds, timeline, torch.stack(rows)[None], complete)

    def _rows(
        self, conditioning: Conditioning, arrangement: Arrangement, plan: list
    ) -> dict[str, Tensor]:
        tokens, mask = conditioning.tokens, conditioning.mask
        slots = arrangement.latents.shape[1]
        placed = self.config.mrc.reference_fusion == "placed"
        empty = None
        if not placed:
            empty = self._silence().expand(arrangement.latents.shape[2:])
        rows: dict[str, list[Tensor]] = {
            k: []
            for k in (
                "prompt",
                "prompt_mask",
                "captions",
                "caption_mask",
                "references",
                "reference_mask",
            )
        }
        for with_prompt, used, _ in plan:
            # A reference that the timeline leaves out does not sound, so it must not be heard in
            # the captions either.
            used = [k for k in used if arrangement.timeline[k] != ()]
            text = 0 if with_prompt else 1
            captions = [3 + k if k in used else 2 for k in range(slots)]
            latents = arrangement.latents[0]
            if empty is not None:
                latents = torch.stack([latents[k] if k in used else empty for k in range(slots)])
            rows["prompt"].append(tokens[text])
            rows["prompt_mask"].append(mask[text])
            rows["captions"].append(tokens[captions])
            rows["caption_mask"].append(mask[captions])
            rows["references"].append(latents)
            rows["reference_mask"].append(
                torch.tensor([k in used for k in range(slots)], device=tokens.device)
            )
        out = {name: torch.stack(values).to(self.device) for name, values in rows.items()}
        dtype = next(self.flow.parameters()).dtype
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in out.items()}

    @torch.inference_mode()
    def sample(
        self,
        conditioning: Conditioning,
        arrangement: Arrangement,
        seeds: Sequence[int] = (0,),
        steps: int | None = None,
        guidance: Guidance = Guidance(),
        solver: str = "two-step",
        shift: float = 1.0,
        start_latent: Tensor | None = None,
        denoise: float = 1.0,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Draw one latent for each seed.

        Parameters
        ----------
        seeds
            One per item; an item depends on its own seed alone.
        steps
            Solver steps; by default 24 for the flow, 200 for the DDPM variant.
        solver
            One of `flow.SOLVERS`; the DDPM variant always uses DDIM.
        shift
            Time shift of the flow's steps.
        start_latent
            Scaled latent [1 or B, C, T, F] to begin from, with `denoise` the share of the way that
            is done anew.
        callback
            Called after each step with (step, steps, z); may raise to cancel.

        Returns
        -------
        Tensor
            Scaled latents [B, C, T, F], float32.
        """
        steps = DEFAULT_STEPS[self.config.objective] if steps is None else steps
        if not seeds:
            raise InputError("seeds: expected at least one, found none")
        for seed in seeds:
            if not 0 <= seed < 2**64:
                raise InputError(f"seed: expected a whole number from 0 to 2**64 - 1, found {seed}")
        if not 0.0 < denoise <= 1.0:
            raise InputError(f"denoise: expected a share above 0 and up to 1, found {denoise}")
        if solver not in flow.SOLVERS:
            raise InputError(f"solver: expected one of {', '.join(flow.SOLVERS)}, found {solver!r}")
        plan = flow.branches(guidance, [r.strength for r in conditioning.references])
        shape = self.config.latent_shape(arrangement.seconds)
        z = flow.initial_noise(shape, [int(s) for s in seeds]).to(self.device)
        start = 0.0
        if start_latent is not None and denoise < 1.0:
            start = 1.0 - denoise
            if start_latent.shape[1:] != z.shape[1:] or start_latent.shape[0] not in (1, len(z)):
                raise InputError(
                    f"start latent: expected [1 or {len(z)}, {', '.join(map(str, shape))}], found "
                    f"{list(start_latent.shape)}; encode a sound of {arrangement.seconds:g} s"
                )
            data = start_latent.to(z).expand_as(z)
            if self.config.objective == "ddpm":
                z = diffusion.start_latent(data, z, steps, start)
            else:
                z = flow.path(z, data, torch.full((len(z),), start))[0]
        schedule = None
        if self.config.objective == "flow":
            schedule = flow.times(steps, shift, start)
        else:
            diffusion.ddim_steps(steps, start)
        context = self.flow.precompute(**self._rows(conditioning, arrangement, plan)).repeat(len(z))
        weights = [weight for *_, weight in plan]
        low, high = guidance.interval
        # Where guidance is off, the first branch alone is computed; features that follow the time
        # keep all branches.
        whole = (low, high) == (0.0, 1.0) or len(plan) == 1
        alone = None if whole or context.refresh is not None else context.rows(slice(0, len(z)))
        dtype = next(self.flow.parameters()).dtype
        quiet = self._quiet(conditioning, arrangement, z) if start == 0.0 else None

        def evaluate(z: Tensor, time: float) -> Tensor:
            guided = whole or low <= time <= high
            some = context if guided or alone is None else alone
            count = 1 if some is alone else len(plan)
            lam = torch.full((count * len(z),), time, device=z.device)
            parts = (
                self.flow.denoise(z.to(dtype).repeat(count, 1, 1, 1), lam, some)
                .float()
                .chunk(count)
            )
            velocity = sum(w * part for w, part in zip(weights, parts)) if guided else parts[0]
            return velocity if quiet is None else torch.where(quiet[0], quiet[1], velocity)

        if self.config.objective == "ddpm":
            return diffusion.ddim(evaluate, z, steps, start, callback)
        return flow.SOLVERS[solver](evaluate, z, schedule, callback)

    def _quiet(
        self, conditioning: Conditioning, arrangement: Arrangement, noise: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Frames [T, 1] where nothing shall be heard, and the velocity [B, C, T, F] that leads from
        `noise` to silence; None where the network decides.
        """
        fits = self.config.objective == "flow" and self.config.mrc.reference_fusion == "placed"
        heard = conditioning.heard
        places = [arrangement.timeline[k] for k in heard]
        if not (fits and arrangement.complete and any(places)) or None in places:
            return None
        frames = quiet_frames(arrangement.latents[0, heard])
        return frames[:, None].to(noise.device), self._silence().to(noise) - noise

    @torch.inference_mode()
    def encode(self, waveform: Tensor, seconds: float) -> Tensor:
        """Scaled latent [1, C, T, F] of a mono sound [T] at 16 kHz, cut or padded with silence to
        `seconds`.
        """
        _, frames, _ = self.config.latent_shape(seconds)
        samples = frames * self.config.vae.stride * self.config.audio.hop_length
        waveform = waveform[: round(seconds * self.config.audio.sample_rate)]
        padded = nn.functional.pad(waveform, (0, samples - len(waveform))).to(self.device)
        log_mel = LogMel(self.config.audio, device=self.device)
        return self.vae.encode(log_mel(padded[None]).to(next(self.vae.parameters()).dtype)).float()

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """Log-mel [B, 1, frames, bands] of scaled latents, float32."""
        return self.vae.decode(latent.to(self.device, next(self.vae.parameters()).dtype)).float()

    @torch.inference_mode()
    def vocode(self, mel: Tensor, seconds: float | None = None) -> Tensor:
        """Waveforms [B, T] of log-mels [B, 1, frames, bands], refined as the model asks for and cut
        to `seconds`.
        """
        mel = mel.to(self.device, next(self.vocoder.parameters()).dtype)
        waveform = self.vocoder.vocode(mel[:, 0].transpose(1, 2)).float()[:, 0]
        iterations = self.config.vocoder.refinement_iterations
        if iterations:
            refinement = GriffinLim(self.config.audio, self.device)
            waveform = refinement.refine(waveform, mel.float(), iterations)
        if seconds is not None:
            waveform = waveform[:, : round(seconds * self.config.audio.sample_rate)]
        return waveform.clamp(-1.0, 1.0)

    def generate(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        *,
        negative_prompt: str = "",
        seconds: float | None = None,
        free: bool = False,
        missing: str = "auto",
        seeds: Sequence[int] = (0,),
        **options,
    ) -> Tensor:
        """Prompt and references to waveforms [len(seeds), T] at 16 kHz; `options` are those of
        `sample`.
        """
        conditioning = self.condition(prompt, references, negative_prompt)
        arrangement = self.arrange(conditioning, seconds, free, missing)
        latent = self.sample(conditioning, arrangement, seeds, **options)
        return self.vocode(self.decode(latent), arrangement.seconds)


def model_folder(name: str | Path) -> Path:
    """Folder of a model given as a folder, or as the name of one inside the package."""
    for folder in (Path(name).expanduser(), MODELS / str(name)):
        if (folder / "config.json").is_file():
            return folder
    known = sorted(p.parent.name for p in MODELS.glob("*/config.json"))
    if Path(name).expanduser().is_dir():
        raise CheckpointError(
            f"{name}: the folder has no config.json; expected a DreamAudio model folder"
        )
    raise CheckpointError(
        f"model {str(name)!r}: no such folder, and no embedded model of that name; embedded: "
        f"{', '.join(known) or 'none'}"
    )


def read_config(folder: Path) -> ModelConfig:
    """`config.json` of a model folder."""
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: not readable JSON ({error})") from error
    if not isinstance(values, dict) or values.pop("format", None) != "dreamaudio":
        raise CheckpointError(
            f'{file}: expected "format": "dreamaudio"; this is another program\'s model folder'
        )
    values.pop("version", None)
    return from_dict(ModelConfig, values, str(file))


def _build(
    cls: type, part: str, path: Path, config_class: type, operations, dtype, device
) -> nn.Module:
    config, state = load_weights(path, part, config_class)
    module = load_state(cls(config, operations, dtype, torch.device("meta")), state, path)
    return module.eval().requires_grad_(False).to(device)


def load_flow(path: Path, operations=nn, dtype=torch.float32, device="cpu") -> MRCUNet:
    """MRC UNet from our safetensors."""
    return _build(MRCUNet, "flow", path, MRCConfig, operations, dtype, device)


def load_arranger(path: Path, operations=nn, dtype=torch.float32, device="cpu") -> Arranger:
    """Arranger from our safetensors."""
    return _build(Arranger, "arranger", path, ArrangerConfig, operations, dtype, device)


def build_vae(
    path: Path, operations=nn, dtype=torch.float32, device="cpu", allow_pickle: bool = False
) -> AutoencoderKL:
    """VAE from any format that `checkpoint.load_vae` reads."""
    config, state = load_vae(path, allow_pickle)
    module = load_state(AutoencoderKL(config, operations, dtype, torch.device("meta")), state, path)
    return module.eval().requires_grad_(False).to(device)


def build_vocoder(
    path: Path, operations=nn, dtype=torch.float32, device="cpu", allow_pickle: bool = False
) -> BigVGAN:
    """Vocoder from our safetensors, or from an official BigVGAN file or folder (with
    `allow_pickle`).
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return _build(BigVGAN, "vocoder", path, VocoderConfig, operations, dtype, device)
    require_pickle(path, allow_pickle)
    config, state = load_official(path)
    module = load_state(BigVGAN(config, operations, dtype, torch.device("meta")), state, path)
    return module.eval().requires_grad_(False).to(device)


def load_model(
    name: str | Path = "mini",
    *,
    flow: str | Path | None = None,
    vae: str | Path | None = None,
    vocoder: str | Path | None = None,
    text_encoder: str | Path | None = None,
    arranger: str | Path | None = None,
    operations=nn,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    cache: Cache | None = None,
) -> DreamAudio:
    """Load a model folder, or the embedded model by its name; any part may come from elsewhere.

    Raises
    ------
    CheckpointError
        If a part is missing, damaged, or does not fit the others.
    """
    folder = model_folder(name)
    config = read_config(folder)
    kw = {"operations": operations, "dtype": dtype, "device": device}

    def part(given: str | Path | None, file: str) -> Path:
        path = folder / file if given is None else Path(given).expanduser()
        if not path.exists():
            where = f"model folder {folder}" if given is None else "the given path"
            raise CheckpointError(
                f"{path}: no such file ({where}); add it or name another with {file.split('.')[0]}="
            )
        return path

    loaded_vae = build_vae(part(vae, "vae.safetensors"), **kw)
    loaded_flow = load_flow(part(flow, "flow.safetensors"), **kw)
    loaded_vocoder = build_vocoder(part(vocoder, "vocoder.safetensors"), **kw)
    text_source = (
        folder / config.text.source
        if text_encoder is None and (folder / config.text.source).is_dir()
        else (text_encoder or config.text.source)
    )
    loaded_text = load_text_encoder(
        text_source, config.text, allow_download=text_encoder is not None, **kw
    )
    loaded_arranger = None
    if arranger is not None or config.arranger is not None:
        loaded_arranger = load_arranger(
            part(arranger, "arranger.safetensors"), operations, torch.float32, device
        )
    config = replace(
        config, vae=loaded_vae.config, mrc=loaded_flow.config, vocoder=loaded_vocoder.config
    )
    check_parts(config)
    return DreamAudio(
        config,
        loaded_flow,
        loaded_vae,
        loaded_vocoder,
        loaded_text,
        loaded_arranger,
        device,
        Cache(0) if cache is None else cache,
    )


def check_parts(config: ModelConfig) -> None:
    """Refuse parts that cannot work together."""
    if config.vae.latent_channels != config.mrc.latent_channels:
        raise CheckpointError(
            f"vae: its latents have {config.vae.latent_channels} channels, the flow network expects "
            f"{config.mrc.latent_channels}; use the VAE that it was trained with"
        )
    if config.vocoder.num_mels != config.audio.n_mels:
        raise CheckpointError(
            f"vocoder: expects {config.vocoder.num_mels} mel bands, the model has {config.audio.n_mels}"
        )
    if config.vocoder.hop_length != config.audio.hop_length:
        raise CheckpointError(
            f"vocoder: makes {config.vocoder.hop_length} samples a frame, the model has "
            f"{config.audio.hop_length}"
        )
