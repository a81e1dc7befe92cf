"""Train the embedded model's arranger on the composer's own timelines, and measure it on held-out
labels.

    python recipes/mini/train_arranger.py BANK/manifest.jsonl DATA_FOLDER RUN_FOLDER [--steps N]
    [--export FILE] python recipes/mini/train_arranger.py BANK/manifest.jsonl DATA_FOLDER RUN_FOLDER
    --evaluate

DATA_FOLDER gets the compositions (prompts, captions, lengths, timelines; no audio) and the token
features of all texts, which are computed once. RUN_FOLDER gets `last.pt` every ten minutes and is
continued from when started again.
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dreamaudio_core.config import PRESETS, ArrangerConfig
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.compose.composer import Composer
from dreamaudio_core.networks.arranger import Arranger, ArrangerOutput, arrange, references_suffice
from dreamaudio_core.networks.text_encoder import TextEncoder, load_text_encoder
from dreamaudio_core.weights.checkpoint import load_state, load_weights, save_weights

CONFIG = PRESETS["mini"]
SPLITS = {"train": 0, "test": 1}
# Written by hand before the templates; and the second by hand too, before the last change of them.
PROMPTS = {
    name: Path(__file__).with_name(file)
    for name, file in (
        ("written_by_hand", "arranger_prompts.jsonl"),
        ("written_by_hand_2", "arranger_prompts_2.jsonl"),
    )
}
CIRCUMSTANCES = (
    ", recorded outdoors",
    ", an old recording with hiss",
    ", close to the microphone",
    " in a large hall",
    ", from a library of sound effects",
    ", several takes with pauses between them",
    ", stereo, good quality",
)
PREFIXES = ("recording: ", "sound effect of ", "audio clip, ", "a clip in which one hears how ")
# Errors below it (seconds: half a latent frame) cost less than in proportion.
START_TOLERANCE = 0.04
# What compares captions with the prompt's words, and what says whether the references are all that
# is asked for.
MATCHING = ("match_prompt", "match_caption", "word_weight", "match")
COMPLETENESS = ("words", "complete")


# Compositions


def describe(composer: Composer, seed: int, index: int) -> dict:
    """What the arranger reads of an item and what it should answer, without audio."""
    item = composer.item(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    events = []
    for event in item.events:
        text, style = event.reference_caption, rng.random()
        if style < 0.1 and event.phrase:
            text = event.phrase
        elif style < 0.17:
            text = text + CIRCUMSTANCES[rng.integers(len(CIRCUMSTANCES))]
        elif style < 0.2:
            text = PREFIXES[rng.integers(len(PREFIXES))] + text
        events.append(
            {
                "label": event.label,
                "caption": event.caption,
                "text": text,
                "seconds": len(event.reference) / composer.bank.sample_rate,
                "places": [
                    [round(p.start, 3), round(p.duration, 3), round(p.gain, 2)]
                    for p in event.placements
                ],
                "asked": event.asked,
                "has_reference": event.has_reference,
                "background": event.background and event.asked,
            }
        )
    return {"prompt": item.prompt, "seconds": item.seconds, "kind": item.kind, "events": events}


def prepare(manifest: Path, folder: Path, counts: dict[str, int], encoder: TextEncoder) -> None:
    """Write `items_SPLIT.jsonl`, `texts.json`, `tokens.npy` and `offsets.npy` into `folder`, what
    is there kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, seed in SPLITS.items():
        path = folder / f"items_{split}.jsonl"
        if path.exists():
            continue
        composer = Composer(Bank(manifest), split=split)
        lines = []
        for index in range(counts[split]):
            lines.append(json.dumps(describe(composer, seed, index)) + "\n")
            if index % 2000 == 0:
                print(f"composing {split} {index}/{counts[split]}", flush=True)
        path.with_suffix(".part").write_text("".join(lines), encoding="utf-8")
        os.replace(path.with_suffix(".part"), path)
    if (folder / "texts.json").exists():
        return
    items = [item for split in SPLITS for item in read_items(folder, split)]
    items += [item for path in PROMPTS.values() for item in read_lines(path)]
    texts = dict.fromkeys(item["prompt"] for item in items)
    for item in items:
        texts.update(dict.fromkeys(event["text"] for event in item.get("events", ())))
        texts.update(
            dict.fromkeys(reference["caption"] for reference in item.get("references", ()))
        )
    write_features(folder, list(texts), encoder)


def write_features(folder: Path, texts: list[str], encoder: TextEncoder, batch: int = 256) -> None:
    """Token features of `texts`, shortest first, as one float16 array with the offset of each text."""
    lengths = [
        min(len(ids), encoder.config.max_tokens) for ids in encoder.tokenizer(texts)["input_ids"]
    ]
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    texts, lengths = [texts[i] for i in order], [lengths[i] for i in order]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shape = (int(offsets[-1]), encoder.config.dim)
    tokens = np.lib.format.open_memmap(folder / "tokens.part.npy", "w+", np.float16, shape)
    for first in range(0, len(texts), batch):
        rows = encoder.tokenizer(
            texts[first : first + batch],
            padding=True,
            truncation=True,
            max_length=encoder.config.max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            features = encoder(rows["input_ids"], rows["attention_mask"])
        kept = features[rows["attention_mask"].bool()].half().numpy()
        tokens[offsets[first] : offsets[first] + len(kept)] = kept
        if first // batch % 20 == 0:
            print(f"encoding {first}/{len(texts)}", flush=True)
    tokens.flush()
    os.replace(folder / "tokens.part.npy", folder / "tokens.npy")
    np.save(folder / "offsets.npy", offsets)
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")


def read_lines(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_items(folder: Path, split: str) -> list[dict]:
    return read_lines(folder / f"items_{split}.jsonl")


class Features:
    """Token features of every text of a data folder."""

    def __init__(self, folder: Path):
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        self.rows = {text: row for row, text in enumerate(texts)}
        self.offsets = np.load(folder / "offsets.npy")
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")

    def __getitem__(self, text: str) -> np.ndarray:
        row = self.rows[text]
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def length(self, text: str) -> int:
        row = self.rows[text]
        return int(self.offsets[row + 1] - self.offsets[row])

    def pad(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [len(texts), longest, D] and mask."""
        found = [self[text] for text in texts]
        longest = max((len(x) for x in found), default=1)
        out = np.zeros((len(found), longest, self.tokens.shape[1]), np.float32)
        mask = np.zeros((len(found), longest), bool)
        for row, x in enumerate(found):
            out[row, : len(x)], mask[row, : len(x)] = x, True
        return torch.from_numpy(out), torch.from_numpy(mask)


# Batches


def collate(
    items: list[tuple[dict, list[dict]]], features: Features, repeats: int
) -> tuple[dict, dict]:
    """Inputs and targets of items with the events that stand as their references."""
    size, count = len(items), max(1, max(len(events) for _, events in items))
    prompt, prompt_mask = features.pad([item["prompt"] for item, _ in items])
    flat, flat_mask = features.pad([event["text"] for _, events in items for event in events])
    lengths, present = np.zeros((size, count), np.float32), np.zeros((size, count), bool)
    occurs, counts = np.zeros((size, count), np.float32), np.zeros((size, count), np.int64)
    used = np.zeros((size, count, repeats), bool)
    times = np.zeros((3, size, count, repeats), np.float32)
    pairs = np.zeros((size, count, repeats, count), np.float32)
    for b, (_, events) in enumerate(items):
        for k, event in enumerate(events):
            lengths[b, k], present[b, k], occurs[b, k] = event["seconds"], True, event["asked"]
            counts[b, k] = max(0, len(event["places"]) - 1)
            for r, place in enumerate(event["places"][:repeats]):
                used[b, k, r], times[:, b, k, r] = True, place
                for j, other in enumerate(events):
                    if j != k and other["places"] and not other["background"]:
                        earlier = [s + d <= place[0] + 0.04 for s, d, _ in other["places"]]
                        pairs[b, k, r, j] = sum(earlier) / len(earlier)
    captions = flat.new_zeros(size, count, *flat.shape[1:])
    caption_mask = flat_mask.new_zeros(size, count, flat.shape[1])
    exists = torch.from_numpy(present)
    captions[exists], caption_mask[exists] = flat, flat_mask
    inputs = {
        "prompt": prompt,
        "prompt_mask": prompt_mask,
        "captions": captions,
        "caption_mask": caption_mask,
        "reference_seconds": torch.from_numpy(lengths),
        "reference_mask": exists,
        "seconds": torch.tensor([item["seconds"] for item, _ in items]),
    }
    complete = [bool(events) and is_complete(item, events) for item, events in items]
    targets = {
        "complete": np.array(complete, np.float32),
        "occurs": occurs,
        "count": counts,
        "used": used,
        "pairs": pairs,
        "start": times[0],
        "duration": times[1],
        "gain": times[2],
    }
    return inputs, {name: torch.from_numpy(value) for name, value in targets.items()}


def is_complete(item: dict, events: list[dict]) -> bool:
    """Whether the events that stand as references are all that the prompt asks for."""
    return sum(event["asked"] for event in events) == sum(
        event["asked"] for event in item["events"]
    )


class Wordings:
    """Texts of each caption of some items, and the captions of other sounds that mean almost the
    same.

    A prompt and a reference's caption need not agree as closely as two phrasings of one sentence
    do, so captions of similar sounds stand in for an event's own.
    """

    def __init__(self, items: list[dict], features: Features, kinds: dict[str, str]):
        self.texts: dict[str, list[str]] = {}
        spoken = {}
        for item in items:
            for event in item["events"]:
                self.texts.setdefault(event["caption"], []).append(event["text"])
                spoken[event["caption"]] = kinds.get(event["label"], "speech") == "speech"
        self.captions = list(self.texts)
        self.row = {caption: row for row, caption in enumerate(self.captions)}
        self.spoken = np.array([spoken[caption] for caption in self.captions])
        means = np.stack(
            [
                features[self.texts[caption][0]].astype(np.float32).mean(0)
                for caption in self.captions
            ]
        )
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        self.alike = means @ means.T

    def similar(self, caption: str, others: list[str], rng: np.random.Generator) -> str | None:
        """A text of one of the six nearest other captions that is clearly farther from `others`
        than from `caption`.
        """
        row = self.row[caption]
        if self.spoken[row]:
            return None
        near = [j for j in np.argsort(-self.alike[row])[:7] if j != row]
        near = [j for j in near if self.alike[row, j] > 0.5 and not self.spoken[j]]
        rivals = [self.row[other] for other in others if other != caption]
        near = [
            j
            for j in near
            if all(self.alike[j, rival] < self.alike[j, row] - 0.1 for rival in rivals)
        ]
        return self.draw(self.captions[near[rng.integers(len(near))]], rng) if near else None

    def draw(self, caption: str, rng: np.random.Generator) -> str:
        return self.texts[caption][rng.integers(len(self.texts[caption]))]

    def foreign(self, caption: str, others: list[str]) -> bool:
        """Whether a sound is unlike all of `others`; two utterances differ by their words."""
        row = self.row[caption]
        return caption not in others and all(
            self.alike[row, self.row[other]] < 0.45
            or (self.spoken[row] and self.spoken[self.row[other]])
            for other in others
        )


class Drawer:
    """Draws a training item's references: other wordings, some left out, some that the prompt does
    not ask for.
    """

    def __init__(self, items: list[dict], wordings: Wordings, most: int):
        self.wordings, self.most = wordings, most
        self.pool = [event for item in items for event in item["events"]]

    def __call__(self, rng: np.random.Generator, item: dict) -> tuple[dict, list[dict]]:
        events = [event for event in item["events"] if event["has_reference"]]
        captions = [event["caption"] for event in item["events"]]
        if rng.random() < 0.3:
            events = [event for event in events if rng.random() > 0.3]
        if rng.random() < 0.35:
            for _ in range(int(rng.integers(1, 6))):
                other = self.pool[rng.integers(len(self.pool))]
                if self.wordings.foreign(other["caption"], captions):
                    captions = [*captions, other["caption"]]
                    events.append({**other, "asked": False, "places": [], "background": False})
        worded = []
        for k in rng.permutation(len(events))[: self.most]:
            event, text = events[k], None
            if rng.random() < 0.2:
                text = self.wordings.similar(event["caption"], captions, rng)
            elif rng.random() < 0.5:
                text = self.wordings.draw(event["caption"], rng)
            worded.append({**event, "text": text or event["text"]})
        return item, worded


def drop_words(inputs: dict, rng: np.random.Generator) -> None:
    """Hide a third of the tokens of a fifth of the captions, never all."""
    mask = inputs["caption_mask"]
    hidden = torch.from_numpy(
        (rng.random(mask.shape) < 0.33) & (rng.random((*mask.shape[:2], 1)) < 0.2)
    )
    kept = mask & ~hidden
    inputs["caption_mask"] = torch.where(kept.any(-1, keepdim=True), kept, mask)


def epoch(
    items: list[dict], features: Features, size: int, rng: np.random.Generator
) -> list[list[dict]]:
    """Batches of items whose prompts are of about one length, in random order."""
    order = rng.permutation(len(items))
    batches = []
    for first in range(0, len(order), 32 * size):
        chunk = sorted(
            order[first : first + 32 * size], key=lambda i: features.length(items[i]["prompt"])
        )
        batches += [
            [items[i] for i in chunk[at : at + size]]
            for at in range(0, len(chunk) - size + 1, size)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


# Training


def loss_terms(
    out: ArrangerOutput, targets: dict, reference_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Weighted terms of the loss; times in seconds, and only where the item uses the reference."""
    used, asked = targets["used"], targets["used"][..., 0]
    pairs = (
        used[..., None]
        & asked[:, None, None]
        & ~torch.eye(asked.shape[1], dtype=torch.bool)[:, None]
    )

    def mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (values * mask).sum() / mask.sum().clamp_min(1)

    occurs = F.binary_cross_entropy_with_logits(out.occurs, targets["occurs"], reduction="none")
    order = F.binary_cross_entropy_with_logits(out.precedes, targets["pairs"], reduction="none")
    count = F.cross_entropy(out.repeats.transpose(1, 2), targets["count"], reduction="none")
    gain = F.smooth_l1_loss(
        out.gain[..., None].expand_as(used), targets["gain"], reduction="none", beta=3.0
    )
    return {
        "occurs": mean(occurs, reference_mask),
        "repeats": 0.5 * mean(count, asked),
        "start": mean(
            F.smooth_l1_loss(out.start, targets["start"], reduction="none", beta=START_TOLERANCE),
            used,
        ),
        "duration": mean(
            F.smooth_l1_loss(out.duration, targets["duration"], reduction="none", beta=0.25), used
        ),
        "gain": 0.02 * mean(gain, used),
        "order": mean(order, pairs),
        "complete": mean(
            F.binary_cross_entropy_with_logits(out.complete, targets["complete"], reduction="none"),
            reference_mask.any(1),
        ),
    }


def train(args: argparse.Namespace, features: Features) -> Arranger:
    items = read_items(args.data, "train")
    kinds = {entry.label: entry.kind for entry in Bank(args.manifest).entries}
    drawer = Drawer(items, Wordings(items, features, kinds), CONFIG.arranger.max_references)
    torch.manual_seed(0)
    model = Arranger(CONFIG.arranger)
    if args.initial:
        found = load_weights(args.initial, "arranger", ArrangerConfig)[1]
        added = {
            name: value
            for name, value in model.state_dict().items()
            if name.split(".")[0] in COMPLETENESS
        }
        load_state(model, {**added, **found}, args.initial)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    if args.freeze_matching:
        for name in MATCHING:
            getattr(model, name).requires_grad_(False)
    if args.only_completeness:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in COMPLETENESS)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, args.rate, betas=(0.9, 0.98), weight_decay=0.02)
    last, step, spent = args.run / "last.pt", 0, 0.0
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "ema": ema.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": spent + time.time() - started,
        }
        torch.save(state, last.with_suffix(".part"))
        os.replace(last.with_suffix(".part"), last)
        if args.export:
            save_weights(args.export, ema.state_dict(), "arranger", CONFIG.arranger, torch.float16)

    started = saved = time.time()
    sums: dict[str, float] = {}
    per_epoch = len(epoch(items, features, args.batch, np.random.default_rng(0)))
    batches: list[list[dict]] = []
    model.train()
    while step < args.steps:
        number, position = divmod(step, per_epoch)
        if not batches or position == 0:
            batches = epoch(items, features, args.batch, np.random.default_rng((2, number)))
        rng = np.random.default_rng((3, step))
        inputs, targets = collate(
            [drawer(rng, item) for item in batches[position]], features, CONFIG.arranger.max_repeats
        )
        drop_words(inputs, rng)
        factor = min(1.0, (step + 1) / 300) * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        )
        for group in optimizer.param_groups:
            group["lr"] = args.rate * factor
        terms = loss_terms(model(**inputs), targets, inputs["reference_mask"])
        optimizer.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            decay = min(0.998, (1 + step) / (10 + step))
            for mine, theirs in zip(ema.parameters(), model.parameters()):
                mine.lerp_(theirs, 1 - decay)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if step % 100 == 0:
            shown = ", ".join(f"{name} {value / 100:.3f}" for name, value in sums.items())
            print(
                f"step {step}/{args.steps}, {spent + time.time() - started:.0f} s: {shown}",
                flush=True,
            )
            sums = {}
        if step % 1000 == 0:
            print(
                json.dumps(evaluate(ema, features, read_items(args.data, "test")[:500])), flush=True
            )
        if time.time() - saved > 600 or step == args.steps:
            save()
            saved = time.time()
    return ema


# Measuring


def texts_of(features: Features, prompt: str, captions: list[str]) -> tuple[torch.Tensor, ...]:
    """Features and mask of the prompt, then of the captions."""
    tokens, mask = features.pad([prompt])
    return tokens[0], mask[0], *features.pad(captions)


def timeline_of(
    model: Arranger,
    features: Features,
    prompt: str,
    captions: list[str],
    lengths: list[float],
    seconds: float,
) -> list:
    return arrange(model, *texts_of(features, prompt, captions), lengths, seconds)


def suffice(model: Arranger, features: Features, item: dict, references: list[dict]) -> bool:
    return references_suffice(
        model,
        *texts_of(features, item["prompt"], [r["text"] for r in references]),
        [r["seconds"] for r in references],
        item.get("seconds", CONFIG.seconds),
    )


def percent(values: list[bool]) -> float:
    return round(100 * sum(values) / max(1, len(values)), 1)


def evaluate(model: Arranger, features: Features, items: list[dict]) -> dict[str, float]:
    """Shares in percent over composed items.

    `order`: all pairs of events that do not overlap stand in the right order, in items with such a
    pair. `start`: all starts of a sequence whose events all have references are within 0.5 s.
    `asked`: over references. `complete`: it is said rightly whether the references are all that is
    asked for; `incomplete`: the same after one of them was taken away.
    """
    order, chains, starts, every, asked, counts, lengths = [], [], [], [], [], [], []
    complete, incomplete = [], []
    kinds: dict[str, list[bool]] = {}
    for item in items:
        events = [event for event in item["events"] if event["has_reference"]]
        if not events:
            continue
        found = timeline_of(
            model,
            features,
            item["prompt"],
            [e["text"] for e in events],
            [e["seconds"] for e in events],
            item["seconds"],
        )
        complete.append(suffice(model, features, item, events) == is_complete(item, events))
        gone = next((k for k, event in enumerate(events) if event["asked"]), None)
        if len(events) > 1 and gone is not None:
            incomplete.append(
                not suffice(model, features, item, events[:gone] + events[gone + 1 :])
            )
        pairs, near = [], []
        for event, places in zip(events, found):
            asked.append(bool(places) == event["asked"])
            if not event["asked"]:
                continue
            counts.append(len(places) == len(event["places"]))
            near += [
                counts[-1] and abs(p.start - start) <= 0.5
                for p, (start, *_) in zip(places, event["places"])
            ]
            near += [False] * (not places)
            lengths += [
                abs(p.duration - duration) <= 0.25
                for p, (_, duration, _) in zip(places, event["places"])
            ]
            for other, others in zip(events, found):
                if other["asked"] and not (event["background"] or other["background"]):
                    if (
                        event["places"][0][0] + event["places"][0][1]
                        <= other["places"][0][0] + 0.04
                    ):
                        pairs.append(bool(places and others) and places[0].start < others[0].start)
        if pairs:
            order.append(all(pairs))
        if near:
            every += near
            kinds.setdefault(item["kind"], []).append(all(near))
            of_item = [event for event in item["events"] if event["asked"]]
            if (
                item["kind"] == "sequence"
                and len(of_item) > 1
                and all(event["has_reference"] for event in of_item)
            ):
                chains.append(all(near))
                starts += near
    return {
        "order": percent(order),
        "start": percent(chains),
        "start_each": percent(starts),
        "start_any": percent(every),
        "asked": percent(asked),
        "count": percent(counts),
        "duration": percent(lengths),
        "complete": percent(complete),
        "incomplete": percent(incomplete),
        **{f"all_starts_{kind}": percent(values) for kind, values in sorted(kinds.items())},
    }


def with_similar_captions(
    items: list[dict], features: Features, kinds: dict[str, str]
) -> list[dict]:
    """The items with references that fit only roughly: captioned as a similar sound wherever there
    is one.
    """
    wordings, rng = Wordings(items, features, kinds), np.random.default_rng(4)
    changed = []
    for item in items:
        captions = [event["caption"] for event in item["events"]]
        events = [
            {**event, "text": wordings.similar(event["caption"], captions, rng) or event["text"]}
            for event in item["events"]
        ]
        changed.append({**item, "events": events})
    return changed


def evaluate_prompts(
    model: Arranger, features: Features, path: Path, seconds: float, verbose: bool = False
) -> dict[str, float]:
    """Shares in percent over prompts written by hand: order of events, asked or not, overlap, all
    right; and whether the references are known to be all that is asked for, and not to be after any
    one of them was taken away.
    """
    order, asked, whole, together, complete, incomplete = [], [], [], [], [], []
    for item in read_lines(path):
        references = item["references"]
        worded = [{**reference, "text": reference["caption"]} for reference in references]
        complete.append(suffice(model, features, item, worded))
        for k, expected in enumerate(item["expected"]):
            if expected["asked"] and len(worded) > 1:
                incomplete.append(not suffice(model, features, item, worded[:k] + worded[k + 1 :]))
        found = timeline_of(
            model,
            features,
            item["prompt"],
            [r["caption"] for r in references],
            [r["seconds"] for r in references],
            seconds,
        )
        right = [
            bool(places) == expected["asked"] for places, expected in zip(found, item["expected"])
        ]
        pairs = []
        for places, expected in zip(found, item["expected"]):
            for others, following in zip(found, item["expected"]):
                if (
                    expected["asked"]
                    and following["asked"]
                    and expected["order"] < following["order"]
                ):
                    pairs.append(bool(places and others) and places[0].start < others[0].start)
                if (
                    expected["asked"]
                    and following["asked"]
                    and expected is not following
                    and expected["order"] == following["order"]
                ):
                    together.append(
                        bool(places and others)
                        and places[0].start < others[0].start + others[0].duration
                        and others[0].start < places[0].start + places[0].duration
                    )
        asked += right
        if pairs:
            order.append(all(pairs))
        whole.append(all(right) and all(pairs))
        if verbose and not whole[-1]:
            print(item["prompt"])
            for reference, places, expected in zip(references, found, item["expected"]):
                shown = ", ".join(f"{p.start:.2f}+{p.duration:.2f}" for p in places) or "-"
                print(
                    f"    {reference['caption']} ({reference['seconds']} s): {shown}; expected {expected}"
                )
    return {
        "order": percent(order),
        "asked": percent(asked),
        "together": percent(together),
        "whole": percent(whole),
        "complete": percent(complete),
        "incomplete": percent(incomplete),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--compositions", type=int, default=40_000)
    parser.add_argument("--held-out", type=int, default=1_500)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--text-encoder",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "dreamaudio_core/models/mini/text_encoder",
    )
    parser.add_argument(
        "--export", type=Path, help="safetensors file for the averaged weights, in float16"
    )
    parser.add_argument(
        "--initial", type=Path, help="safetensors file of an arranger to start from"
    )
    parser.add_argument(
        "--freeze-matching",
        action="store_true",
        help="keep the layers that match words, so that wordings unlike the templates' stay understood",
    )
    parser.add_argument(
        "--only-completeness",
        action="store_true",
        help="train nothing but the answer whether the references are all that is asked for",
    )
    parser.add_argument("--out", type=Path, help="JSON file for what is measured at the end")
    parser.add_argument(
        "--evaluate", action="store_true", help="measure the run's averaged weights only"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)

    encoder = load_text_encoder(args.text_encoder, CONFIG.text)
    prepare(args.manifest, args.data, {"train": args.compositions, "test": args.held_out}, encoder)
    del encoder
    features = Features(args.data)
    if args.evaluate:
        model = Arranger(CONFIG.arranger).eval()
        model.load_state_dict(torch.load(args.run / "last.pt", weights_only=True)["ema"])
    else:
        model = train(args, features)
    held_out = read_items(args.data, "test")
    kinds = {entry.label: entry.kind for entry in Bank(args.manifest).entries}
    found = {
        "held_out": {"compositions": len(held_out), **evaluate(model, features, held_out)},
        "similar_captions": evaluate(
            model, features, with_similar_captions(held_out, features, kinds)
        ),
        **{
            name: evaluate_prompts(model, features, path, CONFIG.seconds, verbose=True)
            for name, path in PROMPTS.items()
        },
    }
    print(json.dumps(found, indent=2))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
