"""Configuration values from strangers: typed, bounded, and refused before anything is built."""

import dataclasses
import json
import math
import time

import pytest

from dreamaudio_core.config import (
    PRESETS,
    ArrangerConfig,
    ModelConfig,
    MRCConfig,
    VAEConfig,
    VocoderConfig,
    VocosConfig,
    to_dict,
)
from dreamaudio_core.config_values import from_dict
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.weights.checkpoint import save_weights
from dreamaudio_core.weights.folder import MODELS
from dreamaudio_core.weights.load import load_part

CLASSES = [VAEConfig, VocoderConfig, VocosConfig, MRCConfig, ArrangerConfig, ModelConfig]
ABSURD = [
    *(0, -1, 3, 10**9, 10**400, -1e9, 1e308, math.nan, math.inf, True, False, None),
    *("", "x", "1e9", "\ud800", [], [0], [-1], [10**9], [[1]], [None], {}, {"a": 1}, [1] * 1000),
]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(PRESETS[name])))) == PRESETS[name]


@pytest.mark.parametrize("cls", CLASSES)
def test_absurd_values_are_refused_or_harmless_whatever_they_are(cls):
    base = to_dict(PRESETS["mini"] if cls is ModelConfig else cls())
    begun, refused = time.process_time(), 0
    for field in dataclasses.fields(cls):
        for value in ABSURD:
            try:
                config = from_dict(cls, {**base, field.name: value}, "file: config")
            except CheckpointError as error:
                refused += 1
                assert str(error).startswith("file: config") and len(str(error)) < 300
            else:
                # What is taken has the field's own type, and no count that a loop would not end.
                taken = getattr(config, field.name)
                assert not isinstance(taken, (int, float)) or abs(taken) <= 384_000
    assert refused > 10 * len(dataclasses.fields(cls))
    assert time.process_time() - begun < 30


@pytest.mark.parametrize(
    "cls,field,value,words",
    [
        (ArrangerConfig, "layers", 10**9, "layers: expected a number from 1 to 256"),
        (VAEConfig, "num_res_blocks", 10**9, "num_res_blocks: expected a number from 1"),
        (VAEConfig, "scale_factor", math.nan, "scale_factor: expected a number from"),
        (VocosConfig, "refinement_iterations", 10**9, "from 0 to 1000, found 1000000000"),
        (MRCConfig, "multipliers", "1,2", "expected a list of 1 to 64 entries, found '1,2'"),
        (MRCConfig, "pooled_prompt", 1, "expected true or false, found 1"),
        (MRCConfig, "model_channels", 3, "groups: expected a divisor of the width 3, found 32"),
        (ArrangerConfig, "hidden", 191, "heads: expected a divisor of the width 191, found 6"),
    ],
)
def test_errors_name_the_field_and_what_was_expected(cls, field, value, words):
    with pytest.raises(CheckpointError, match=words):
        from_dict(cls, {**to_dict(cls()), field: value})


def test_a_weight_file_with_an_absurd_configuration_is_refused_at_once(tmp_path):
    part = load_part("arranger", MODELS / "mini" / "arranger.safetensors")
    config = dataclasses.replace(part.config, layers=10**9)
    save_weights(tmp_path / "a.safetensors", part.state_dict(), "arranger", config)
    with pytest.raises(CheckpointError, match="a.safetensors: config: layers"):
        load_part("arranger", tmp_path / "a.safetensors")
