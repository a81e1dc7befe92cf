"""Whatever a stranger's file holds: a value of ours, or one clear error of input."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from dreamaudio_core.audio.decode import read_audio, read_original
from dreamaudio_core.config import VAEConfig, to_dict
from dreamaudio_core.config_values import from_dict
from dreamaudio_core.errors import AudioError, CheckpointError, InputError
from dreamaudio_core.scene.scene_files import parse_scenes, to_row
from dreamaudio_core.scene.timeline import ArrangedReference, Arrangement, Placement
from dreamaudio_core.weights.checkpoint import load_weights, save_weights
from dreamaudio_core.weights.info import describe

# The same examples everywhere, and no deadline that a loaded machine would miss.
few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1, 0, 1e308, 2**64])
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
seconds = st.floats(0.0, 600.0)
lengths = st.floats(0.01, 600.0)


def one_line(error: Exception) -> bool:
    return 0 < len(str(error)) < 1_000 and "Traceback" not in str(error)


# Configurations


@few
@given(st.sampled_from(sorted(to_dict(VAEConfig()))), anything)
def test_a_configuration_is_taken_or_refused(field, value):
    try:
        taken = from_dict(VAEConfig, {**to_dict(VAEConfig()), field: value}, "x: config")
    except CheckpointError as error:
        assert str(error).startswith("x: config") and one_line(error)
    else:
        assert from_dict(VAEConfig, json.loads(json.dumps(to_dict(taken)))) == taken


# Timelines

placements = st.builds(
    Placement,
    seconds,
    lengths,
    gain=st.floats(-120.0, 60.0),
    offset=st.none() | seconds,
    fade_in=seconds,
    fade_out=seconds,
    pan=st.floats(-1.0, 1.0),
    pinned=st.booleans(),
)
arranged = st.builds(
    ArrangedReference,
    st.text(max_size=20),
    st.booleans(),
    st.none() | st.lists(placements, max_size=3).map(tuple),
    st.text(max_size=20),
)


@few
@given(
    st.builds(
        Arrangement,
        st.floats(0.1, 600.0),
        st.lists(arranged, max_size=3).map(tuple),
        st.sampled_from(["generate", "silence"]),
        st.lists(st.text(max_size=20), max_size=2).map(tuple),
    )
)
def test_every_timeline_survives_json(arrangement):
    assert Arrangement.from_json(arrangement.to_json()) == arrangement


@few
@given(
    anything
    | st.fixed_dictionaries(
        {"seconds": numbers},
        optional={
            "version": anything,
            "missing": anything,
            "warnings": anything,
            "references": st.lists(
                anything
                | st.fixed_dictionaries(
                    {}, optional={"caption": anything, "used": anything, "placements": anything}
                ),
                max_size=2,
            ),
        },
    )
)
def test_a_timeline_is_taken_or_refused(values):
    try:
        found = Arrangement.from_json(json.dumps(values))
    except InputError as error:
        assert one_line(error)
    else:
        assert math.isfinite(found.seconds) and Arrangement.from_json(found.to_json()) == found


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '{"seconds": 1e999}', "\x00"])
def test_texts_that_are_hardly_json_are_refused(text):
    with pytest.raises(InputError, match="arrangement"):
        Arrangement.from_json(text)


# Scene files


@few
@given(
    st.text(max_size=200)
    | st.dictionaries(
        st.sampled_from(["prompt", "seconds", "seed", "references", "name", "missing", "steps"]),
        anything,
    ).map(json.dumps)
)
def test_a_scene_file_is_taken_or_refused(text):
    try:
        scenes = parse_scenes(text, lambda name, label: Path(name))
    except InputError as error:
        assert str(error)
    else:
        for scene in scenes:
            again = parse_scenes(
                json.dumps(to_row(scene, Path("/nowhere"))), lambda name, label: Path(name)
            )
            assert again == [scene]


# Sounds


@few
@given(st.sampled_from([".wav", ".flac", ".ogg", ".mp3"]), st.data())
def test_a_damaged_sound_is_read_or_refused(tmp_path, suffix, data):
    path = tmp_path / f"damaged{suffix}"
    soundfile.write(path, 0.5 * np.sin(np.arange(2_000) * 0.3), 16_000)
    content = bytearray(path.read_bytes())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[at] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (read_audio, lambda file: read_original(file)[0]):
        try:
            waveform = read(path)
        except AudioError as error:
            assert "damaged" in str(error) and one_line(error)
        else:
            assert waveform.numel() and torch.isfinite(waveform).all()


@few
@given(st.binary(max_size=200), st.sampled_from(["x.wav", "x.au", "x.flac", "x.m4a", "x.txt"]))
def test_bytes_of_any_kind_are_read_or_refused(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    try:
        assert torch.isfinite(read_audio(tmp_path / name)).all()
    except AudioError as error:
        assert one_line(error)


# Weight files


@few
@given(st.data())
def test_damaged_weights_are_read_or_refused(tmp_path, data):
    path = tmp_path / "vae.safetensors"
    save_weights(path, {"a": torch.ones(3, 2), "b": torch.zeros(4)}, "vae", VAEConfig())
    content = bytearray(path.read_bytes())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[at] = value
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        _, state = load_weights(path, "vae", VAEConfig)
        assert describe(str(path))["tensors"] == len(state)
    except CheckpointError as error:
        assert one_line(error)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[" * 100_000,
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}',
    ],
)
@pytest.mark.parametrize("length", [None, 0, 2**63, 2**64 - 1])
def test_wrong_headers_are_refused_at_once(tmp_path, header, length):
    path = tmp_path / "x.safetensors"
    size = struct.pack("<Q", len(header) if length is None else length)
    path.write_bytes(size + header + b"\0" * 4)
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        describe(str(path))


def test_a_configuration_of_nothing_but_brackets_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    metadata = {"format": "dreamaudio", "part": "vae", "config": "[" * 100_000}
    save_file({"a": torch.ones(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="no readable config"):
        load_weights(path, "vae", VAEConfig)


@pytest.mark.parametrize("content", [{"state_dict": [1]}, {1: torch.ones(2)}, {"generator": None}])
def test_odd_dictionaries_are_described(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    assert describe(str(tmp_path / "x.pt"))["tensors"] == 0


def test_a_text_of_gigabytes_in_a_pickle_is_refused(tmp_path):
    # Protocol 2, then a text that claims 4 GB.
    (tmp_path / "x.pt").write_bytes(b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc.")
    with pytest.raises(CheckpointError, match="not a complete weights-only"):
        describe(str(tmp_path / "x.pt"))
