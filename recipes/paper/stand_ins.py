"""Stand-ins for a rehearsal: sounds in the four published layouts, and small networks of random
weights.

All is made by one seed; existing files are kept.
"""

from __future__ import annotations

import csv
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from small_aesthetics import narrow, write_aesthetics

from dreamaudio_core.config import PRESETS, ModelConfig, TextConfig
from dreamaudio_core.networks.cnn14 import Cnn14
from dreamaudio_core.networks.vggish import VGGish
from dreamaudio_core.weights.folder import write_config
from small_clap import write_clap
from small_configs import MRC_SIZES, SMALL_VAE, SMALL_VOCODER

RATE = 16_000
WIDTH = 24
# Ids of FreeSound that the reader of WavCaps draws for the test split.
TEST_IDS = (9, 27, 53, 54, 61, 65, 125)
CAPTIONS = (
    "a dog barks and a man speaks",
    "rain falls on a roof",
    "a car passes by",
    "birds sing in a tree",
    "a crowd cheers",
    "a door slams, then someone walks away",
)
ESC50 = ("dog", "rooster", "rain", "sea_waves", "crying_baby", "clapping", "door_wood_knock")
ESC50 += ("can_opening", "helicopter", "chainsaw")
URBAN = ("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling")


class StandIns:
    """What a rehearsal works on.

    Parameters
    ----------
    folder
        Where it is made.
    recipe
        Folder of the recipe, whose list of the scenarios' sounds is followed.
    """

    def __init__(self, folder: Path, recipe: Path):
        self.folder, self.recipe = folder, recipe
        names = ("audiocaps", "wavcaps", "urbansound8k", "esc50")
        self.data = {name: folder / "data" / name for name in names}
        self.sounds, self.presets = folder / "sounds", folder / "presets"
        self.text_encoder = folder / "text_encoder"
        self.rng = np.random.default_rng(0)

    def make(self) -> None:
        """Make everything that is missing."""
        done = self.folder / "done"
        if not done.exists():
            for name, folder in self.data.items():
                getattr(self, f"_{name}")(folder)
            self._scenarios()
            torch.manual_seed(0)
            self._presets()
            self._text_encoder()
            self._measures()
            done.touch()
        self._narrow_aesthetics()

    # Sounds

    def _sound(self, path: Path, seconds: float, rate: int = RATE) -> None:
        """A few harmonics that come and go, and noise."""
        time = np.arange(round(seconds * rate)) / rate
        pitch = self.rng.uniform(80, 1500)
        wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3))
        wave *= 0.5 + 0.5 * np.sin(2 * np.pi * self.rng.uniform(0.3, 4) * time)
        wave += self.rng.normal(0, self.rng.uniform(0.05, 0.5), len(time))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (0.2 * wave).clip(-1, 1).astype(np.float32), rate)

    def _table(self, path: Path, head: list[str], rows: list[list[Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *rows])

    def _audiocaps(self, folder: Path) -> None:
        number = 0
        for split, count in (("train", 10), ("val", 2), ("test", 5)):
            rows = []
            for _ in range(count):
                clip = f"clip{number:05d}"
                caption = f"{CAPTIONS[number % len(CAPTIONS)]} for the {number}. time"
                rows.append([number, clip, 30, caption])
                self._sound(folder / "audio" / split / f"Y{clip}.wav", 10.0)
                number += 1
            head = ["audiocap_id", "youtube_id", "start_time", "caption"]
            self._table(folder / f"{split}.csv", head, rows)

    def _wavcaps(self, folder: Path) -> None:
        """Clips of FreeSound, one of 12 s and one that a blacklist names, and clips of SoundBible
        under the same ids.
        """
        rows = []
        for number in [*range(12), *TEST_IDS[1:], 1000, 1001, 1002]:
            long = number % 2 or number in (1000, 1002)
            seconds = 12.0 if number == 1002 else 9.7 if long else self.rng.uniform(0.8, 2.4)
            self._sound(folder / "Zip_files" / "FreeSound_flac" / f"{number}.flac", seconds)
            caption = f"{CAPTIONS[number % len(CAPTIONS)]}, number {number}"
            rows.append({"id": str(number), "caption": caption, "duration": seconds})
        bible = [
            {"id": str(number), "caption": f"A bell rings {number} times."} for number in range(4)
        ]
        for row in bible:
            self._sound(folder / "Zip_files" / "SoundBible_flac" / f"{row['id']}.flac", 1.5)
        self._json(folder / "json_files" / "FreeSound" / "fsd_final.json", {"data": rows})
        self._json(folder / "json_files" / "SoundBible" / "sb_final.json", {"data": bible})
        forbidden = {"FreeSound": ["1001"], "AudioSet": []}
        self._json(folder / "json_files" / "blacklist" / "blacklist_exclude_all_ac.json", forbidden)

    @staticmethod
    def _json(path: Path, content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")

    def _urbansound8k(self, folder: Path) -> None:
        rows = []
        for number in range(36):
            kind, fold = URBAN[number % len(URBAN)], 1 + number % 10
            name = f"{number}-{number % len(URBAN)}-0-0.wav"
            self._sound(folder / "audio" / f"fold{fold}" / name, self.rng.uniform(0.8, 3.5), 22_050)
            rows.append([name, number, fold, kind])
        head = ["slice_file_name", "fsID", "fold", "class"]
        self._table(folder / "metadata" / "UrbanSound8K.csv", head, rows)

    def _esc50(self, folder: Path) -> None:
        rows = []
        for number in range(5 * len(ESC50)):
            fold, kind = 1 + number % 5, ESC50[number // 5]
            name = f"{fold}-{number}-A-{number // 5}.wav"
            self._sound(folder / "audio" / name, 5.0, 44_100)
            rows.append([name, fold, kind])
        self._table(folder / "meta" / "esc50.csv", ["filename", "fold", "category"], rows)

    def _scenarios(self) -> None:
        """A sound in place of each that the scenarios name in Debian's packages."""
        for line in (self.recipe / "fantasy_sounds.txt").read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                self._sound(self.sounds / line, self.rng.uniform(0.5, 2.0))

    def write_ratings(self, folder: Path, systems: list[str]) -> None:
        """Answers of two listeners who do not exist, as the page of a listening test saves them."""
        path = folder / "stand_in.csv"
        if path.exists():
            return
        head = ["listener", "position", "item", "system", "ovl", "rel"]
        rows = [
            [
                listener,
                k,
                f"{item:05d}",
                system,
                int(self.rng.integers(1, 6)),
                int(self.rng.integers(1, 6)),
            ]
            for listener in ("one", "two")
            for k, (item, system) in enumerate((i, s) for i in range(2) for s in systems)
        ]
        self._table(path, head, rows)

    # Networks

    def _presets(self) -> None:
        text = TextConfig(source=str(self.text_encoder), dim=WIDTH)
        for name, preset in PRESETS.items():
            if preset.mrc.fusion != "concat":
                continue
            sizes = MRC_SIZES | {"text_dim": WIDTH, "model_channels": 48 if "-l" in name else 32}
            mrc = replace(preset.mrc, **sizes)
            small: ModelConfig = replace(
                preset, vae=SMALL_VAE, vocoder=SMALL_VOCODER, text=text, mrc=mrc
            )
            (self.presets / name).mkdir(parents=True, exist_ok=True)
            write_config(self.presets / name, small)

    def _text_encoder(self) -> None:
        from transformers import BertTokenizerFast, T5Config, T5EncoderModel

        folder = self.text_encoder
        folder.mkdir(parents=True, exist_ok=True)
        letters = string.ascii_lowercase + string.digits + ",.-'"
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
        words += [f"##{letter}" for letter in letters]
        (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
        config = T5Config(
            vocab_size=len(words), d_model=WIDTH, d_kv=12, d_ff=32, num_layers=1, num_heads=2
        )
        T5EncoderModel(config).save_pretrained(folder)

    def weights(self) -> dict[str, str]:
        """Weights of the measures; those that a package is missing for are left out."""
        folder = self.folder / "measures"
        files = {
            "vggish": folder / "vggish.pth",
            "cnn14": folder / "cnn14.pth",
            "clap": folder / "clap",
            "aesthetics": folder / "aesthetics.pt",
        }
        return {name: str(path) if path.exists() else "" for name, path in files.items()}

    def _measures(self) -> None:
        folder = self.folder / "measures"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(VGGish((4, 4, 6, 6, 8, 8), 16, 8).state_dict(), folder / "vggish.pth")
        state = {k: v for k, v in Cnn14(width=4, classes=10).state_dict().items() if k != "mel"}
        torch.save({"model": state}, folder / "cnn14.pth")
        write_clap(folder / "clap", max_tokens=60)
        aes = self._narrow_aesthetics()
        if aes is not None:
            write_aesthetics(aes, folder / "aesthetics.pt")

    @staticmethod
    def _narrow_aesthetics() -> Any:
        """The module of AudioBox-Aesthetics' network, whose sizes are a constant in it, with a
        narrow encoder; None without the package.
        """
        try:
            from audiobox_aesthetics.model import aes
        except ImportError:
            return None
        aes.DEFAULT_AUDIO_CFG = narrow(aes)
        return aes
