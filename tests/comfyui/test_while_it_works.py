"""Progress, pictures and Cancel of every stage."""

import io
import os

import pytest
from graphs import detail, scene
from PIL import Image

# Of work of one processor: what other programs take of the machine meanwhile does not count.
CANCEL_SECONDS = 1.5
PNG_OR_JPEG = (b"\xff\xd8\xff", b"\x89PNG")


def with_detail(**changes):
    graph = scene(**changes)
    graph["detail"] = detail()
    graph["save"]["inputs"]["audio"] = ["detail", 0]
    return graph


def picture_of(message):
    start = min(at for mark in PNG_OR_JPEG if (at := message.find(mark)) >= 0)
    return Image.open(io.BytesIO(message[start:]))


def test_the_mel_is_seen_as_it_forms(server):
    run = server.run(with_detail(prefix="forming", steps=12, seed=77))
    assert run.error is None, run.message
    assert 3 <= len(run.pictures) <= 16
    pictures = [picture_of(message).convert("L") for message in run.pictures]
    assert {picture.size for picture in pictures} == {(512, 160)}
    assert len({picture.tobytes() for picture in pictures}) > 1
    told = {name for name, _, _ in run.progress}
    assert {"sampler", "decode", "vocode", "detail"} <= told


@pytest.mark.parametrize("stage", ["sampler", "decode", "vocode", "detail"])
def test_cancel_ends_every_stage_at_once(server, stage):
    # Long enough that a stage is at work when Cancel arrives, on a fast machine too.
    seconds = 20.0 if stage == "sampler" else 110.0
    graph = with_detail(prefix="cancelled", model="mini", seconds=seconds, steps=1, seed=500)
    graph["sampler"]["inputs"]["steps"] = 20 if stage == "sampler" else 1
    if stage == "detail":
        starts = range(1, round(2 * seconds) - 2)
        graph["reference0"]["inputs"]["start"] = ", ".join(f"{0.5 * k:g}" for k in starts)
    pressed = []

    def cancel(name, step, steps):
        if name == stage and step < steps and not pressed:
            pressed.append(server.worked())
            server.interrupt()

    run = server.run(graph, on_progress=cancel)
    took = (server.worked() - pressed[0]) / os.cpu_count() if pressed else None
    print(f"{stage}: {took} s")
    assert pressed, f"{stage} told of no progress before its end"
    assert run.interrupted and run.error is None
    assert took < CANCEL_SECONDS
