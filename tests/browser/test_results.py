"""Save Audio in the browser: a row for each file."""

import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from test_canvas import complaints, tiny_quick_start


@pytest.fixture(params=["classic", "nodes 2.0"])
def saved(request, canvas):
    """The node after a run of three variations."""
    setting = "await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', args[0])"
    canvas.run(setting, request.param != "classic")
    workflow = tiny_quick_start()
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioMRCFlowSampler":
            node["widgets_values"][0] = len(request.param)
    canvas.load(workflow)
    canvas.run("""
        window.saved = app.graph.nodes.find(n => n.type === 'DreamAudioSaveAudio');
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [300 - saved.pos[0], 150 - saved.pos[1]];
        const sampler = app.graph.nodes.find(n => n.type === 'DreamAudioMRCFlowSampler');
        sampler.widgets.find(w => w.name === 'batch_size').value = 3;
        window.results = saved.widgets.find(w => w.name === 'results').results;
        await app.queuePrompt(0, 1);
    """)
    canvas.until("return results.rows.length === 3 && results.rows.every(row => row.buffer)")
    canvas.settle()
    yield canvas
    canvas.run(setting, False)


def test_each_file_is_heard_and_becomes_a_reference(saved, server):
    rows = saved.run("return results.rows.map(row => [row.name, row.about.textContent, row.peak])")
    assert len({name for name, _, _ in rows}) == 3
    for name, about, peak in rows:
        assert (
            name.endswith(" [output]")
            and re.match(r"seed \d+, 3\.00 s, peak -", about)
            and peak > 0
        )
    driver = saved.driver
    buttons = driver.find_elements("css selector", ".da-row [aria-label^='Play']")
    ActionChains(driver).click(buttons[1]).perform()
    saved.until("return results.rows[1].player.playing && results.rows[1].playhead > 0")
    ActionChains(driver).click(buttons[2]).perform()
    saved.until("return results.rows[2].player.playing && !results.rows[1].player.playing")
    saved.run("results.stop()")
    ActionChains(driver).click(
        driver.find_elements("css selector", ".da-row [aria-label^='Use']")[2]
    ).perform()
    name = saved.until(
        "return app.graph.nodes.filter(n => n.type === 'DreamAudioLoadReference').at(-1)"
        ".widgets.find(w => w.name === 'audio').value"
    )
    assert name == rows[2][0]
    link = saved.run("return results.rows[2].element.querySelector('a').download")
    assert link and name.endswith(f"{link} [output]")
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["reference", 1]}}
    loaded = {
        "class_type": "DreamAudioLoadReference",
        "inputs": {
            **{"audio": name, "caption": "a crow", "strength": 1.0, "start": "auto", "gain": 0.0},
            **{
                "pan": 0.0,
                "fade_in": 0.0,
                "fade_out": 0.0,
                "trim": "off",
                "begin": 0.0,
                "end": 0.0,
            },
        },
    }
    run = server.run({"reference": loaded, "shown": shown})
    assert run.error is None, run.message
    assert not complaints(saved)


def test_a_preview_is_kept_on_request(canvas, server):
    workflow = tiny_quick_start()
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioSaveAudio":
            node["type"], node["widgets_values"] = "DreamAudioPreviewAudio", []
            node["inputs"] = node["inputs"][:1]
    canvas.load(workflow)
    canvas.run("""
        window.saved = app.graph.nodes.find(n => n.type === 'DreamAudioPreviewAudio');
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [300 - saved.pos[0], 150 - saved.pos[1]];
        window.results = saved.widgets.find(w => w.name === 'results').results;
        await app.queuePrompt(0, 1);
    """)
    canvas.until("return results.rows.length === 1 && results.rows[0].buffer")
    canvas.settle()
    folder = server.base / "output" / "audio"
    before = set(folder.glob("*.flac"))
    button = canvas.driver.find_element("css selector", ".da-row [aria-label^='Keep']")
    ActionChains(canvas.driver).click(button).perform()
    canvas.until("return results.rows[0].element.textContent.includes('✓')")
    (kept,) = set(folder.glob("*.flac")) - before
    assert kept.name.startswith("DreamAudio_") and kept.stat().st_size > 1000
    assert not complaints(canvas)
