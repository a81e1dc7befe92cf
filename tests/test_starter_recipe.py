"""The recipe of the starter library: licences, joining and levels."""

import csv
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from scripts import load_script

FOLDER = Path(__file__).parents[1] / "recipes" / "starter_library"
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: someone
License: GPL-2+

Files: sounds/bell.ogg
       sounds/wind*.ogg
Copyright: someone else
License: CC0-1.0
Comment: from elsewhere

License: GPL-2+
 The text of the licence.
"""
LIST = """Licensed under CC BY 3.0:
alice - Bell (http://example.org/1)

Licensed under CC0:
bob - Wind (http://example.org/2)
"""


@pytest.fixture(scope="module")
def build():
    path = list(sys.path)
    module = load_script("recipes/starter_library/build.py")
    sys.path[:] = path
    return module


def test_a_copyright_file_gives_a_files_own_licence(build):
    assert build.copyright_license(COPYRIGHT, "sounds/bell.ogg") == "CC0-1.0"
    assert build.copyright_license(COPYRIGHT, "sounds/wind_2.ogg") == "CC0-1.0"
    assert build.copyright_license(COPYRIGHT, "sounds/dog.ogg") == "GPL-2+"


def test_a_list_gives_the_licence_it_named_last(build):
    assert build.nearby_license(LIST, "Bell (http") == "CC BY"
    assert build.nearby_license(LIST, "Wind (http") == "CC0"
    assert build.nearby_license(LIST, "Rain") is None


def test_another_licence_stops_the_build(build, tmp_path):
    (tmp_path / "list.txt").write_text(LIST)
    row = {"name": "x", "package": "p", "stated_in": "list.txt", "stated_as": "Wind (http"}
    assert build.check_license(row, tmp_path) == "list.txt"
    with pytest.raises(SystemExit, match="CC BY"):
        build.check_license({**row, "stated_as": "Bell (http"}, tmp_path)


def test_pieces_start_every_gap_and_levels_are_those_told(build):
    click = (np.concatenate([np.ones((10, 1)), np.zeros((90, 1))]), 1000)
    row, rate = build.join([click, click], 0.5)
    assert rate == 1000 and row.shape == (600, 1)
    assert row[:10].all() and row[500:510].all() and not row[10:500].any()
    noise = np.random.default_rng(0).standard_normal((16_000, 2)) * 0.01
    for bed, wanted in ((False, -20.0), (True, -26.0)):
        loud = build.level(noise, 16_000, bed)
        assert 10 * np.log10((loud**2).mean()) == pytest.approx(wanted, abs=0.5)
    spike = np.zeros((16_000, 1))
    spike[100] = 0.5
    assert np.abs(build.level(spike, 16_000, False)).max() == pytest.approx(10 ** (-1 / 20))


def test_files_in_archives_are_read(build, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("sounds/wind.wav", b"wind")
    assert build.read(tmp_path, "data.zip!sounds/wind.wav") == b"wind"
    assert build.read(tmp_path, "data.zip")[:2] == b"PK"
    assert zipfile.is_zipfile(io.BytesIO(build.read(tmp_path, "data.zip")))


def test_the_table_is_what_ships():
    from dreamaudio_core.scene.starter import starter_sounds

    with (FOLDER / "sounds.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    shipped = {
        sound.path.stem: sound
        for sound in starter_sounds()
        if not sound.source.startswith("synthetic: ")
    }
    assert rows.keys() == shipped.keys()
    for name, row in rows.items():
        assert (row["caption"], row["license"]) == (shipped[name].caption, shipped[name].license)
        assert "|".join(shipped[name].also) == row["also"]


def test_what_is_synthetic_is_what_ships(build):
    from dreamaudio_core.audio.decode import read_original
    from dreamaudio_core.scene.starter import starter_sounds

    shipped = {s.path.stem: s for s in starter_sounds() if s.source.startswith("synthetic: ")}
    assert shipped.keys() == build.synthesise.SOUNDS.keys()
    for name, sound in build.synthesise.SOUNDS.items():
        assert (shipped[name].caption, shipped[name].also) == (sound.caption, sound.also)
    for name in ("dog", "cat", "telephone"):
        made = build.level(build.synthesise.SOUNDS[name].make().T, 48_000, False).T
        found, rate = read_original(shipped[name].path)
        assert rate == 48_000 and found.shape == made.shape
        # Vorbis loses a little.
        assert np.corrcoef(found.numpy().ravel(), made.ravel())[0, 1] > 0.97
