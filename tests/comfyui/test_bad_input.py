"""Bad input: each case gives a message on its node that says what to change, and the server goes
on.
"""

import io

import pytest
import soundfile
from graphs import node, reference, scene, use_as_reference


@pytest.fixture(autouse=True, scope="module")
def the_server_lives_on(server):
    """After all of these, the next run works; each of them runs on the server that the one before
    has left.
    """
    yield
    run = server.run(scene(prefix="alive"))
    assert run.error is None


def refused(server, graph, node_id):
    """The message of a node that the server refuses before it runs anything."""
    answer = server.post(graph)
    assert answer.status_code == 400, answer.text
    errors = answer.json()["node_errors"][node_id]["errors"]
    return f"{errors[0]['type']}: {errors[0]['message']} {errors[0]['details']}"


def failed(server, graph, node_id):
    """The message of a node that fails while running."""
    run = server.run(graph)
    assert run.error is not None
    assert run.error["node_id"] == node_id
    assert "\n" not in run.message.strip()
    return run.message


@pytest.mark.parametrize(
    "name",
    [
        "missing.wav",
        "../secret.wav",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "dreamaudio/../../secret.wav",
        "../secret.wav [output]",
        "",
        "nul\0byte.wav",
        "C:\\Windows\\win.ini",
    ],
)
def test_files_that_are_not_there_or_lie_elsewhere(server, base, name):
    soundfile.write(base / "secret.wav", [0.5, -0.5] * 4000, 16000)
    graph = scene()
    graph["reference0"]["inputs"]["audio"] = name
    message = refused(server, graph, "reference0")
    assert "choose" in message


def test_a_file_that_is_no_sound(server, base):
    (base / "input" / "notes.wav").write_text("no sound at all")
    graph = scene()
    graph["reference0"]["inputs"]["audio"] = "notes.wav"
    assert "cannot be decoded" in failed(server, graph, "reference0").replace(
        "not audio that can be", "cannot be"
    )


def test_a_removed_reference_falls_back_or_says_so(server, base):
    example = base / "input" / "dreamaudio_crow.flac"
    data = example.read_bytes()
    example.unlink()
    run = server.run(scene())
    assert run.error is None and "reference0" in run.executed + run.cached
    example.write_bytes(data)
    own = base / "input" / "own.wav"
    soundfile.write(own, [0.5, -0.5] * 4000, 16000)
    graph = scene()
    graph["reference0"]["inputs"]["audio"] = "own.wav"
    assert server.run(graph).error is None
    own.unlink()
    assert "upload" in refused(server, graph, "reference0")


def test_an_unknown_model(server):
    assert "value_not_in_list" in refused(server, scene(model="nothing"), "model")
    assert "value_not_in_list" in refused(server, scene(model="../tiny"), "model")


@pytest.mark.parametrize(
    "model, word", [("incomplete", "vocoder.safetensors"), ("damaged", "flow.safetensors")]
)
def test_a_model_folder_with_a_missing_or_damaged_part(server, model, word):
    assert word in failed(server, scene(model=model), "model")


def test_a_part_of_another_kind(server):
    graph = scene()
    graph["part"] = node("DreamAudioLoadFlow", model=["model", 0], file="tiny/vae.safetensors")
    graph["sampler"]["inputs"]["model"] = ["part", 0]
    assert "'flow'" in failed(server, graph, "part")


@pytest.mark.parametrize(
    "kind, word",
    [
        ("none", "no sound"),
        ("no batch", "[batch, channels, samples]"),
        ("int16", "floating-point"),
        ("empty", "no samples"),
        ("rate 0", "sample rate"),
        ("rate text", "'fast'"),
        ("silent", "silent"),
        ("nan", "NaN"),
        ("batch", "batch of 2"),
    ],
)
def test_odd_audio(server, kind, word):
    graph = scene(references=0)
    graph["odd"] = node("TestOddAudio", kind=kind)
    use_as_reference(graph, "odd")
    assert word in failed(server, graph, "from_audio")


@pytest.mark.parametrize(
    "kind, word",
    [
        ("none", "no sound"),
        ("three channels", "mono or stereo"),
        ("no batch", "[batch"),
        ("int16", "floating-point"),
        ("nan", "NaN"),
        ("empty", "no samples"),
        ("rate 0", "sample rate"),
    ],
)
@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_odd_audio_is_not_saved(server, kind, word, format):
    assert word in failed(server, saving(kind, format), "save")


def saving(kind, format, prefix="odd"):
    """A graph that saves odd audio."""
    save = node("DreamAudioSaveAudio", audio=["odd", 0], filename_prefix=prefix, format=format)
    return {"odd": node("TestOddAudio", kind=kind), "save": save}


@pytest.mark.parametrize("kind", ["lazy", "5.1", "antiphase", "three channels"])
def test_any_audio_is_a_reference_and_a_start(server, kind):
    graph = scene(references=0)
    graph["odd"] = node("TestOddAudio", kind=kind)
    use_as_reference(graph, "odd")
    seconds = graph["arrange"]["inputs"]["seconds"]
    graph["encode"] = node(
        "DreamAudioVAEEncode", model=["model", 0], audio=["odd", 0], seconds=seconds
    )
    graph["sampler"]["inputs"].update(start_latent=["encode", 0], denoise=0.5)
    assert server.run(graph).error is None


@pytest.mark.parametrize("format", ["mp3", "opus", "flac", "wav"])
@pytest.mark.parametrize("rate", [16000, 40000, 96000])
def test_sounds_of_any_rate_are_saved(server, format, rate):
    run = server.run(saving(f"rate {rate}", format, f"rates/{format}"))
    assert run.error is None
    sound, saved = soundfile.read(io.BytesIO(server.fetch(run.outputs["save"]["audio"][0])))
    assert saved == rate if format in ("flac", "wav") else saved <= 48000
    # Encoders pad by up to a few frames.
    assert abs(len(sound) / saved - 16000 / rate) < 0.12


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_name_with_the_number_of_the_item_never_overwrites(server, format):
    names = set()
    for kind in ("batch", "stereo 44100"):
        run = server.run(saving(kind, format, "items/take_%batch_num%"))
        names.update(saved["filename"] for saved in run.outputs["save"]["audio"])
    assert len(names) == 3


def test_a_file_that_cannot_be_written_is_told_in_words(server):
    assert "filename_prefix" in failed(server, saving("rate 16000", "wav", "n" * 300), "save")


def test_saving_outside_the_output_folder(server):
    graph = scene()
    graph["save"]["inputs"]["filename_prefix"] = "../../outside"
    assert "outside" in failed_message(server, graph, "save")
    graph["save"]["inputs"].update(filename_prefix="x", format="exe")
    assert "value_not_in_list" in refused(server, graph, "save")


@pytest.mark.parametrize(
    ("prefix", "problem"),
    [
        ("nul/x", "'nul' is the name of a device on Windows"),
        ("con.x", "'con.x_00001_' is the name of a device"),
        ("con.%take%", "'con.01' is the name of a device"),
        ("night./x", "'night.' begins or ends with a space, or ends with a dot"),
        ("night \\x", "'night ' begins or ends"),
        ("a:b", "'a:b_00001_' has :"),
        ("a/b\n", "cannot be printed"),
    ],
)
def test_names_that_windows_would_hide_or_change_are_refused(server, base, prefix, problem):
    message = failed(server, saving("rate 16000", "wav", prefix), "save")
    assert message.startswith(f"filename_prefix: {prefix!r}: ") and problem in message
    assert not (base / "output" / "night.").exists()


@pytest.mark.parametrize("prefix", ["aux", "console/com10", "r.x"])
def test_names_that_only_look_like_those_are_taken(server, prefix):
    run = server.run(saving("rate 16000", "wav", prefix))
    assert run.error is None
    server.fetch(run.outputs["save"]["audio"][0])


def failed_message(server, graph, node_id):
    run = server.run(graph)
    assert run.error is not None and run.error["node_id"] == node_id
    return run.message


def test_nine_references(server):
    graph = scene(references=0)
    for k in range(9):
        graph[f"r{k}"] = reference()
        graph["captions"]["inputs"][f"references.reference{k}"] = [f"r{k}", 0]
    assert "reference8" in failed(server, graph, "captions")
    columns = ",".join(f"audio{k}" for k in range(1, 10))
    rows = f"prompt,{columns}\na crow caws{',dreamaudio_crow.flac' * 9}\n"
    graph = scene(references=0)
    graph["table"] = node("DreamAudioLoadScenes", file="rows below", rows=rows)
    graph["captions"]["inputs"]["references.reference0"] = ["table", 1]
    assert "at most 8, found 9" in failed(server, graph, "captions")


def test_unconnected_inputs(server):
    graph = scene()
    del graph["captions"]["inputs"]["model"]
    assert "required_input_missing" in refused(server, graph, "captions")
    graph = scene()
    del graph["captions"]["inputs"]["references.reference0"]
    del graph["reference0"]
    assert server.run(graph).error is None


def test_values_out_of_range(server):
    for name, value in (("steps", -1), ("guidance", -2.0), ("seed", -1), ("shift", -1.0)):
        assert "value_smaller_than_min" in refused(server, scene(**{name: value}), "sampler")
    assert "value_bigger_than_max" in refused(server, scene(seconds=1000.0), "arrange")
    graph = scene()
    graph["reference0"]["inputs"]["start"] = "soon"
    assert "'soon'" in failed(server, graph, "reference0")
    graph["reference0"]["inputs"]["start"] = "9"
    assert "starts at 9 s" in failed(server, graph, "arrange")


def test_a_timeline_that_does_not_fit(server):
    graph = scene()
    for text, words in (
        ("{", "timeline: not readable JSON"),
        ('{"seconds": 2}', "timeline: holds 0 references, expected 1"),
        ('{"seconds": 2, "references": [{"placements": 3}]}', "timeline.references[0].placements"),
        (
            '{"seconds": 2, "references": [{"placements": [{"start": 9, "duration": 1}]}]}',
            "timeline: reference 1: starts at 9 s",
        ),
    ):
        graph["arrange"]["inputs"]["timeline"] = text
        assert words in failed(server, graph, "arrange")


def test_an_arrangement_of_other_references(server):
    graph = scene()
    graph["other"] = node(
        "DreamAudioEncodeCaption", model=["model", 0], prompt="a crow caws", negative_prompt=""
    )
    graph["sampler"]["inputs"]["conditioning"] = ["other", 0]
    assert "connect both to the same" in failed(server, graph, "sampler")


def test_latents_of_another_kind_and_length(server):
    graph = scene(references=0)
    graph["foreign"] = node("EmptyLatentImage", width=128, height=64, batch_size=1)
    graph["decode"]["inputs"]["latent"] = ["foreign", 0]
    assert "DreamAudio latent" in failed(server, graph, "decode")
    graph = scene(references=0, start_latent=["encode", 0], denoise=0.5)
    graph["source"] = node("LoadAudio", audio="dreamaudio_guitar.flac")
    graph["encode"] = node(
        "DreamAudioVAEEncode", model=["model", 0], audio=["source", 0], seconds=5.12
    )
    assert "encode a sound of 2.56 s" in failed(server, graph, "sampler")


def test_a_table_with_broken_rows_names_each(server):
    rows = "\n".join(
        [
            "prompt,seed,audio1,caption1,start1",
            "a crow caws,1,dreamaudio_crow.flac,a crow caws,0.5",
            ",2,,,",
            "a crow caws,minus one,,,",
            "a crow caws,4,../../../etc/passwd,a crow caws,",
            "a crow caws,5,dreamaudio_crow.flac,a crow caws,later",
        ]
    )
    graph = scene(references=0)
    graph["table"] = node("DreamAudioLoadScenes", file="rows below", rows=rows)
    graph["captions"]["inputs"] |= {"prompt": ["table", 0], "references.reference0": ["table", 1]}
    message = failed(server, graph, "table")
    assert "4 of 5 scenes" in message
    for line in (
        "line 3: prompt",
        "line 4: seed",
        "line 5: reference 1: audio",
        "line 6: reference 1: start",
    ):
        assert line in message
    graph["table"]["inputs"]["file"] = "../../../etc/passwd"
    assert "value_not_in_list" in refused(server, graph, "table")


# Tables as spreadsheets save them in one country or another, with columns of their user's own.
TABLES = {
    "semicolons.csv": "\ufeffPrompt;Seed;Audio1;Caption1;notes\r\n"
    "a crow caws, then a bell rings;7;dreamaudio_crow.flac;a crow caws;loud\r\n",
    "tabs.tsv": "PROMPT\tSEED\tfilename\taudio1\tcaption1\n"
    "a crow caws, then a bell rings\t7.0\tx\tdreamaudio_crow.flac\ta crow caws\n",
    "quoted.csv": "prompt,seed,audio1,caption1\n"
    '"a crow caws, then a bell rings",7,dreamaudio_crow.flac,a crow caws\n',
    "array.json": '[{"prompt": "a crow caws, then a bell rings", "seed": 7, "references": '
    '[{"audio": "dreamaudio_crow.flac", "caption": "a crow caws"}]}]',
}


def rows_of(server, base, name, text):
    (base / "input" / name).write_text(text, encoding="utf-8", newline="")
    graph = {"rows": node("DreamAudioLoadScenes", file=name, rows="")}
    for slot, output in enumerate(("prompt", "references", "seed")):
        if output != "references":
            graph[output] = node("PreviewAny", source=["rows", slot])
    return server.run(graph)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_any_spreadsheet_is_read(server, base, name):
    run = rows_of(server, base, name, TABLES[name])
    assert run.error is None, run.message
    assert run.outputs["prompt"]["text"] == ["a crow caws, then a bell rings"]
    assert run.outputs["seed"]["text"] == ["7"]


def test_a_prompt_with_a_comma_and_no_quotation_marks_is_told_how(server, base):
    text = "prompt,seed,audio1,caption1\na crow caws, then a bell rings,7,dreamaudio_crow.flac,a\n"
    message = rows_of(server, base, "unquoted.csv", text).message
    assert "line 2: 5 cells, but the header names 4 columns" in message
    assert "in quotation marks" in message
