"""Readers on tiny collections in the published layouts, packing and the command line."""

import argparse
import json

import numpy as np
import pytest
import soundfile
import torch

from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.cli import add_parser
from dreamaudio_core.data.pack import pack_bank, read_manifests
from dreamaudio_core.data.readers import read_urbansound8k, read_wavcaps
from dreamaudio_core.data.scan import scan
from dreamaudio_core.errors import DreamAudioError, InputError


def tone(path, seconds=0.5, rate=16000, frequency=440.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, (0.4 * np.sin(2 * np.pi * frequency * time)).astype(np.float32), rate)


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args([str(a) for a in ("data", *arguments)])
    return args.run(args)


def audiocaps(folder):
    head = "audiocap_id,youtube_id,start_time,caption\n"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(
        head + '1,AAA,30,"A dog barks, then growls"\n2,-BB_,0,Rain falls\n3,gone,0,Wind\n'
    )
    (folder / "val.csv").write_text(head + "4,CCC,10,A bell rings\n")
    (folder / "test.csv").write_text(
        head + "5,DDD,1,A cat meows\n6,DDD,1,The cat is meowing\n1,EEE,1,Birds chirp\n"
    )
    for name in ("train/YAAA", "train/-BB_", "val/CCC_10", "test/YDDD", "train/1", "test/1"):
        tone(folder / f"audio/{name}.wav", 0.2 if name != "test/1" else 0.3)
    return folder


def wavcaps(folder):
    """Two subsets with ids in common, one sound of which is missing, and a published blacklist."""
    for subset, name, data in (
        ("FreeSound", "fsd_final", [("17", "Someone is talking."), ("lost", "x"), ("5.wav", "x")]),
        ("AudioSet_SL", "as_final", [("Yabc.wav", "Someone is talking."), ("lost", "x")]),
        ("SoundBible", "sb_final", [("17", "A duck quacks."), ("18", "A cow moos.")]),
    ):
        path = folder / "json_files" / subset / f"{name}.json"
        path.parent.mkdir(parents=True)
        rows = [{"id": i, "caption": caption, "duration": 0.2} for i, caption in data]
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": rows}))
    for name in ("FreeSound_flac/17", "FreeSound_flac/5", "AudioSet_SL_flac/Yabc", "other/18"):
        tone(folder / "Zip_files" / f"{name}.flac")
    blacklists = folder / "json_files" / "blacklist"
    blacklists.mkdir()
    (blacklists / "blacklist_exclude_all_ac.json").write_text('{"AudioSet": ["Yxyz.wav"]}')
    (blacklists / "blacklist_exclude_ub8k_esc50_vggsound.json").write_text(
        '{"FreeSound": ["5"], "AudioSet": ["17"]}'
    )
    return folder


def urbansound8k(folder):
    (folder / "metadata").mkdir(parents=True)
    rows = [
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "1-0-0-0.wav,1,0,4,1,1,0,air_conditioner",
        "2-3-0-0.wav,2,0,4,1,10,3,dog_bark",
    ]
    (folder / "metadata/UrbanSound8K.csv").write_text("\n".join(rows))
    tone(folder / "audio/fold1/1-0-0-0.wav", rate=44100)
    tone(folder / "audio/fold10/2-3-0-0.wav")
    return folder


def esc50(folder):
    (folder / "meta").mkdir(parents=True)
    rows = [
        "filename,fold,target,category,esc10,src_file,take",
        "1-1-A-0.wav,1,0,dog,True,1,A",
        "5-2-A-9.wav,5,20,crying_baby,True,2,A",
    ]
    (folder / "meta/esc50.csv").write_text("\n".join(rows))
    tone(folder / "audio/1-1-A-0.wav", 5.0)
    tone(folder / "audio/5-2-A-9.wav")
    return folder


def plain(folder):
    tone(folder / "door knock/1.wav")
    tone(folder / "bell/1.ogg")
    tone(folder / "helicopter.wav", 6.0)
    (folder / "bell/1.txt").write_text("A bell rings twice.\n")
    (folder / "captions.csv").write_text(
        'file,caption\nhelicopter.wav,"A helicopter lands, far away"\n'
    )
    return folder


def test_audiocaps(tmp_path):
    found = scan("audiocaps", audiocaps(tmp_path / "ac"), tmp_path)
    rows = [(e.path, e.caption, e.split) for e in found.entries]
    assert rows == [
        ("ac/audio/train/YAAA.wav", "A dog barks, then growls", "train"),
        ("ac/audio/train/-BB_.wav", "Rain falls", "train"),
        ("ac/audio/val/CCC_10.wav", "A bell rings", "validation"),
        ("ac/audio/test/YDDD.wav", "A cat meows", "test"),
        ("ac/audio/test/1.wav", "Birds chirp", "test"),
    ]
    assert found.problems == ["gone: no such file"]
    assert found.entries[-1].seconds == 0.3 and found.entries[0].source == "AudioCaps"


def test_wavcaps_takes_each_subset_s_own_files_and_honours_the_blacklists(tmp_path):
    found = scan("wavcaps", wavcaps(tmp_path / "wc"), tmp_path)
    assert [(e.path, e.source, e.caption) for e in found.entries] == [
        (
            "wc/Zip_files/AudioSet_SL_flac/Yabc.flac",
            "WavCaps AudioSet_SL",
            "Someone is talking.",
        ),
        ("wc/Zip_files/FreeSound_flac/17.flac", "WavCaps FreeSound", "Someone is talking."),
        ("wc/Zip_files/other/18.flac", "WavCaps SoundBible", "A cow moos."),
    ]
    assert found.problems == [
        "AudioSet_SL/lost: no such file",
        "FreeSound/lost: no such file",
        "FreeSound/5: named by a blacklist of WavCaps",
        "SoundBible/17: no such file",
    ]


def test_wavcaps_holds_a_twentieth_out_and_a_damaged_blacklist_is_named(tmp_path):
    table = tmp_path / "fsd.json"
    rows = [{"id": str(i), "caption": "x"} for i in range(4000)]
    table.write_text(json.dumps({"data": rows}))
    splits = [row.split for row in read_wavcaps(tmp_path)]
    assert splits == [row.split for row in read_wavcaps(tmp_path)]
    assert 0.04 < splits.count("test") / len(splits) < 0.06
    (tmp_path / "blacklist.json").write_text('{"FreeSound": 3}')
    with pytest.raises(InputError, match="blacklist.json: expected an object of lists"):
        list(read_wavcaps(tmp_path))


def test_urbansound8k_holds_out_whole_recordings_in_the_paper_s_number(tmp_path):
    (tmp_path / "metadata").mkdir()
    recordings = [number for number in range(1_400) for _ in range(1 + number % 12)][:8732]
    rows = [
        f"{number}-{i}.wav,{number},{1 + number % 10},dog_bark"
        for i, number in enumerate(recordings)
    ]
    table = ["slice_file_name,fsID,fold,class", *rows]
    (tmp_path / "metadata/UrbanSound8K.csv").write_text("\n".join(table))
    found = list(read_urbansound8k(tmp_path))
    of_split = {
        split: {row.name.split("-")[0] for row in found if row.split == split}
        for split in ("train", "test")
    }
    assert sum(row.split == "test" for row in found) == 732 * len(found) // 8732
    assert not of_split["train"] & of_split["test"]


def test_sounds_that_are_too_long_are_left_out_and_not_cut(tmp_path):
    folder = esc50(tmp_path / "esc")
    found = scan("esc50", folder, tmp_path, longest=5.0)
    assert [e.path for e in found.entries] == ["esc/audio/5-2-A-9.wav"]
    assert found.problems == ["1-1-A-0.wav: 5 s, and only sounds under 5 s are wanted"]


@pytest.mark.parametrize(
    "layout,make,captions",
    [
        ("urbansound8k", urbansound8k, ["an air conditioner hums", "a dog barks"]),
        ("esc50", esc50, ["a dog barks", "a baby cries"]),
    ],
)
def test_labels_become_sentences(tmp_path, layout, make, captions):
    found = scan(layout, make(tmp_path / "set"), tmp_path)
    assert [e.caption for e in found.entries] == captions
    if layout == "esc50":
        assert [e.split for e in found.entries] == ["train", "test"]
    assert found.entries[0].label.startswith(f"{layout}/") and found.entries[0].kind == "event"
    assert found.entries[0].seconds == pytest.approx(5.0 if layout == "esc50" else 0.5)


def test_plain_folder(tmp_path):
    entries = {
        e.path: e for e in scan("folder", plain(tmp_path / "mine"), tmp_path, license="CC0").entries
    }
    assert entries["mine/door knock/1.wav"].caption == "someone knocks on a door"
    assert entries["mine/bell/1.ogg"].caption == "A bell rings twice."
    assert entries["mine/helicopter.wav"].caption == "A helicopter lands, far away"
    assert entries["mine/helicopter.wav"].kind == "ambience"
    assert {e.license for e in entries.values()} == {"CC0"}


def test_known_lengths_are_not_measured_again_and_bad_files_are_reported(tmp_path):
    folder = plain(tmp_path / "mine")
    (folder / "bell/2.wav").write_bytes(b"no sound")
    found = scan("folder", folder, tmp_path, known={"mine/bell/1.ogg": 7.5})
    assert {e.path: e.seconds for e in found.entries}["mine/bell/1.ogg"] == 7.5
    assert len(found.problems) == 1 and found.problems[0].startswith("bell/2.wav: cannot be read")


@pytest.mark.parametrize(
    "layout,words",
    [
        ("audiocaps", "expected train.csv"),
        ("wavcaps", "expected JSON files"),
        ("urbansound8k", "UrbanSound8K.csv"),
        ("esc50", "esc50.csv"),
        ("folder", "no usable sound"),
        ("other", "expected one of"),
    ],
)
def test_wrong_folders_are_named(tmp_path, layout, words):
    with pytest.raises(InputError, match=words):
        scan(layout, tmp_path, tmp_path)


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "esc50.csv").write_text("filename,fold\na.wav,1\n")
    with pytest.raises(InputError, match="expected the column 'category', found filename, fold"):
        scan("esc50", tmp_path, tmp_path)


def test_packing_continues_after_an_interruption(tmp_path, capsys):
    run("scan", "esc50", esc50(tmp_path / "esc"), "--out", tmp_path / "esc.jsonl")
    run(
        "scan",
        "folder",
        plain(tmp_path / "mine"),
        "--out",
        tmp_path / "mine.jsonl",
        "--license",
        "CC0",
    )
    assert "2 sounds (train 1, test 1)" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.lengths")) and not list(tmp_path.glob("*.part"))
    manifests = [tmp_path / "esc.jsonl", tmp_path / "mine.jsonl"]
    run("build", *manifests, "--out", tmp_path / "whole", "--max-seconds", "5.5")

    class Stop(Exception):
        pass

    seen = []

    def stop():
        seen.append(1)
        if len(seen) == 3:
            raise Stop

    sources = read_manifests(manifests)
    with pytest.raises(Stop):
        pack_bank(sources, tmp_path / "cut", 5.5, stop)
    assert not (tmp_path / "cut/manifest.jsonl").exists()
    with open(tmp_path / "cut/audio.bin.part", "ab") as file:
        file.write(b"half a so")
    with pytest.raises(InputError, match="begun with other sounds"):
        pack_bank(sources[::-1], tmp_path / "cut", 5.5)
    count = []
    pack_bank(sources, tmp_path / "cut", 5.5, lambda: count.append(1))
    assert len(count) == len(sources) == 5
    for name in ("audio.bin", "manifest.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["audio.bin", "manifest.jsonl"]
    bank = Bank(tmp_path / "cut/manifest.jsonl")
    assert max(e.seconds for e in bank.entries) == 5.5
    original, _ = soundfile.read(tmp_path / "esc/audio/1-1-A-0.wav", dtype="float32")
    assert torch.allclose(bank.waveform(0), torch.from_numpy(original), atol=1e-4)


def test_command_line_reports_what_is_wrong(tmp_path):
    with pytest.raises(DreamAudioError, match="no usable sound"):
        run("scan", "folder", tmp_path, "--out", tmp_path / "x.jsonl")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="expected a bank manifest"):
        run("compose", "overlay", tmp_path / "none.jsonl", "--out", tmp_path / "out")
