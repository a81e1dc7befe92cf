"""Load Reference in the browser: its waveform with handles, its caption, its hints."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from comfy_server import PACK
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.keys import Keys
from test_canvas import complaints


class ReferenceNode:
    """The reference of the template of three references, as a user has it before them."""

    def __init__(self, canvas):
        self.canvas = canvas
        path = PACK / "workflows" / "2_three_references.json"
        canvas.load(json.loads(path.read_text(encoding="utf-8")))
        canvas.run("""
            window.node = app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference');
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [400 - node.pos[0], 120 - node.pos[1]];
            app.graph.setDirtyCanvas(true, true);
            window.reference = node.widgets.find(w => w.name === 'waveform').reference;
        """)
        canvas.until("return reference.whole && reference.waveform.part[1] > 0")
        canvas.settle()

    def value(self, name):
        return self.canvas.run("return node.widgets.find(w => w.name === args[0]).value", name)

    def drop(self, name, title="", wait=True):
        """Drop a sound of 0.75 s with 0.25 s of silence on either side of it, and wait for its
        upload.
        """
        sound = np.pad(0.4 * np.sin(np.arange(4000) * 0.2), 4000)
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16000, format="WAV")
        if title:
            with soundfile.SoundFile(buffer := io.BytesIO(), "w", 16000, 1, format="FLAC") as file:
                file.title = title
                file.write(sound)
        self.canvas.run(
            """
            const bytes = Uint8Array.from(atob(args[0]), c => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], args[1], {type: args[2]}));
            const event = {dataTransfer: data, preventDefault() {}, stopPropagation() {}};
            const dropped = node.onDragDrop(event);
            if (args[3]) await dropped;
        """,
            base64.b64encode(buffer.getvalue()).decode(),
            name,
            "audio/flac" if title else "audio/wav",
            wait,
        )
        self.until(f"return node.widgets[0].value === '{name}'")

    def until(self, script):
        self.canvas.until(script)

    def says(self, text):
        self.until(f"return reference.element.textContent.includes({json.dumps(text)})")


@pytest.fixture
def node(canvas):
    found = ReferenceNode(canvas)
    canvas.errors()
    return found


def test_a_caption_comes_from_the_file_and_is_never_stale(node):
    assert node.value("caption") == "a crow caws"
    node.drop("DoorSlam_02.wav")
    node.until("return node.widgets[1].value === 'a door slam makes a sound'")
    node.drop("take7.flac", title="rain on a tin roof")
    node.until("return node.widgets[1].value === 'rain on a tin roof'")
    assert not complaints(node.canvas)


def test_a_file_is_shown_and_captioned_though_its_upload_takes_long(node):
    """ComfyUI names a file on the node before its upload has ended."""
    node.canvas.run("""
        const { api } = await import('/scripts/api.js');
        const fetchApi = api.fetchApi.bind(api);
        api.fetchApi = async (path, options) => {
            if (path === '/upload/image') await new Promise(done => window.release = done);
            return fetchApi(path, options);
        };
        window.restore = () => { api.fetchApi = fetchApi; };
    """)
    node.drop("DoorSlam_09.flac", title="a slow door", wait=False)
    node.says("DoorSlam_09.flac' is not in")
    assert node.value("caption") == "a crow caws"
    node.canvas.run("release(); restore();")
    node.says("0.75 s, used 0.26 s")
    node.until("return node.widgets[1].value === 'a slow door'")
    assert not complaints(node.canvas)


def test_a_caption_of_the_users_stays_and_says_so(node):
    node.canvas.run("node.widgets[1].value = 'an old crow complains'")
    node.drop("DoorSlam_03.wav")
    node.says("was written for dreamaudio_crow.flac")
    assert node.value("caption") == "an old crow complains"
    node.canvas.driver.find_element(
        "xpath", "//button[contains(., 'Use “a door slam makes a sound”')]"
    ).click()
    assert node.value("caption") == "a door slam makes a sound"
    node.until("return !reference.element.textContent.includes('was written for')")
    assert not complaints(node.canvas)


def test_hints_when_the_caption_is_empty_or_not_named(node):
    node.canvas.run("node.widgets[1].value = ''")
    node.says("No caption")
    node.canvas.run("node.widgets[1].value = 'a crow caws'")
    node.until("return !reference.hints.textContent")
    node.canvas.run("""
        const scene = app.graph.nodes.find(n => n.type === 'DreamAudioEncodeCaption');
        const prompt = scene.widgets.find(w => w.name === 'prompt');
        prompt.value = 'a cash register rings, then a guitar plays';
    """)
    node.says("The prompt does not name this caption")
    assert not complaints(node.canvas)


def test_handles_cut_the_part_that_is_used(node, server):
    node.drop("beep.wav")
    node.says("0.75 s, used 0.26 s")
    x, y, width = node.canvas.run("""
        const box = reference.waveform.element.getBoundingClientRect();
        return [box.left, box.top + box.height / 2, box.width];
    """)
    point = [(round(x + width * second / 0.75), round(y)) for second in (0.5, 0.65)]
    actions = ActionBuilder(node.canvas.driver, duration=40)
    actions.pointer_action.move_to_location(*point[0])
    actions.pointer_action.pointer_down()
    actions.pointer_action.move_to_location(*point[1])
    actions.pointer_action.pointer_up()
    actions.perform()
    assert node.value("begin") == pytest.approx(0.25, abs=0.02)
    assert node.value("end") == pytest.approx(0.65, abs=0.02)
    node.canvas.run("reference.waveform.handles[0].focus()")
    ActionChains(node.canvas.driver).send_keys(Keys.ARROW_RIGHT).perform()
    begin, end = node.value("begin"), node.value("end")
    assert begin == pytest.approx(0.26, abs=0.02)
    node.says(f"used {end - begin:.2f} s ({begin:.2f} to {end:.2f}, by hand)")
    prompt = node.canvas.prompt()
    key, given = next(
        item for item in prompt.items() if item[1]["class_type"] == "DreamAudioLoadReference"
    )
    assert (given["inputs"]["begin"], given["inputs"]["end"]) == (begin, end)
    run = server.run(
        {key: given, "shown": {"class_type": "PreviewAny", "inputs": {"source": [key, 1]}}}
    )
    assert run.error is None, run.message
    assert run.outputs[key]["text"] == [f"0.75 s, used {begin:.2f} to {end:.2f} s"]
    saved = node.canvas.workflow()
    node.canvas.load(saved)
    assert node.canvas.prompt() == prompt
    assert not complaints(node.canvas)
