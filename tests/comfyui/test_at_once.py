"""Two users of one server at the same time, with the browser's questions between."""

import copy
import io
import threading
import uuid

import numpy as np
import requests
import soundfile
from graphs import scene

ROUNDS = 3


def samples(server, run):
    assert run.error is None and not run.interrupted, run.message
    return soundfile.read(io.BytesIO(server.fetch(run.outputs["save"]["audio"][0])))[0]


def test_two_graphs_at_once_give_what_each_gives_alone(server):
    """One prompt and model for one user, others for the other, queued at the same moments."""
    settings = {
        "a": {"references": 1, "model": "tiny", "prompt": "a crow caws"},
        "b": {"references": 2, "model": "other", "prompt": "a cash register rings"},
    }

    def graphs(name):
        return [scene(**settings[name], prefix=f"{name}", seed=900 + k) for k in range(ROUNDS)]

    alone = {n: [samples(server, server.run(g)) for g in graphs(n)] for n in settings}
    server.free()
    found, faults, start = {}, [], threading.Barrier(len(settings) + 1)

    def work(name):
        # A connection of its own to the same process.
        user = copy.copy(server)
        user.client_id = uuid.uuid4().hex
        try:
            start.wait(60)
            found[name] = [samples(user, user.run(graph)) for graph in graphs(name)]
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in settings]
    for thread in threads:
        thread.start()
    start.wait(60)
    asked = {
        "model_name": "tiny",
        "prompt": "a crow caws",
        "seconds": 2.56,
        "references": [{"audio": "dreamaudio_crow.flac", "caption": "a crow caws"}],
    }
    answers = []
    while any(thread.is_alive() for thread in threads):
        answer = requests.post(server.url("dreamaudio/arrange"), json=asked, timeout=300).json()
        answers.append(answer["arrangement"]["references"])
    for thread in threads:
        thread.join()
    assert not faults, faults
    for name in settings:
        assert all(np.array_equal(a, b) for a, b in zip(alone[name], found[name], strict=True))
    assert len(answers) >= 1 and all(answer == answers[0] for answer in answers)
