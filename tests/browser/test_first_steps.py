"""A person new to it: from Templates to their own file in the quick start."""

import base64
import io

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.action_chains import ActionChains
from test_canvas import complaints

TEXT = """
    return [...document.querySelectorAll('[role=dialog] *, .p-dialog *')].find(
      e => e.childElementCount === 0 && e.textContent.trim() === arguments[0] && e.offsetWidth);
"""
OPENED = "return !!app.graph.nodes.find(n => n.type === 'DreamAudioScene');"
CAPTION = "a bell rings"
PROMPT = "a bell rings, then a cash register rings, and at the end the bell rings again"


class Person:
    """What somebody does, counted."""

    def __init__(self, canvas):
        self.canvas, self.actions = canvas, 0

    def click(self, text, done):
        """Click what says `text`; a dialog that is still being drawn is waited for."""
        self.canvas.until(
            f"return (() => {{ {TEXT.replace('arguments[0]', repr(text))} }})() != null"
        )
        element = self.canvas.driver.execute_script(TEXT, text)
        ActionChains(self.canvas.driver).move_to_element(element).click().perform()
        self.canvas.until(done)
        self.actions += 1

    def drop(self, name, data, node_type):
        """Drop a file from the desktop on the first node of a type."""
        self.canvas.run(
            """
            const node = app.graph.nodes.find(n => n.type === args[2]);
            const { scale, offset } = app.canvas.ds;
            const box = app.canvas.canvas.getBoundingClientRect();
            const at = [0, 1].map(k => (node.pos[k] + offset[k] + 30) * scale);
            const bytes = Uint8Array.from(atob(args[1]), c => c.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], args[0], { type: 'audio/wav' }));
            const where = { clientX: box.left + at[0], clientY: box.top + at[1] };
            const target = document.elementFromPoint(where.clientX, where.clientY);
            for (const kind of ['dragenter', 'dragover', 'drop']) {
              const given = { bubbles: true, cancelable: true, dataTransfer: files, ...where };
              target.dispatchEvent(new DragEvent(kind, given));
              await new Promise(requestAnimationFrame);
            }
        """,
            name,
            base64.b64encode(data).decode(),
            node_type,
        )
        self.actions += 1


@pytest.fixture
def templates(canvas):
    """The dialog Templates, on an empty canvas."""
    canvas.run("app.graph.clear();")
    canvas.errors()
    canvas.run("await app.extensionManager.command.execute('Comfy.BrowseTemplates');")
    yield canvas
    canvas.open()
    canvas.errors()


def test_three_actions_lead_to_a_file_of_ones_own_in_the_quick_start(templates, server):
    canvas, person = templates, Person(templates)
    buffer = io.BytesIO()
    bell = 0.4 * np.sin(np.arange(24_000) * 0.2) * np.exp(-np.arange(24_000) / 4_000)
    soundfile.write(buffer, bell, 16_000, format="WAV")

    shown = TEXT.replace("arguments[0]", "'1_quick_start'")
    person.click("dreamaudio", f"return (() => {{ {shown} }})() != null")
    person.click("1_quick_start", OPENED)
    canvas.until("return !document.querySelector('.p-dialog, [role=dialog]')")
    person.drop("bell.wav", buffer.getvalue(), "DreamAudioLoadReference")

    value = (
        "app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference')"
        ".widgets.find(w => w.name === '{}').value"
    )
    canvas.until(f"return {value.format('audio')} === 'bell.wav'")
    canvas.until(f"return {value.format('caption')} === {CAPTION!r}")
    assert person.actions == 3

    # What is left is the prompt and Run.
    graph = canvas.prompt()
    (scene,) = [n for n in graph.values() if n["class_type"] == "DreamAudioScene"]
    scene["inputs"] |= {"prompt": PROMPT, "quality": "draft"}
    run = server.run(graph)
    assert run.error is None, run.message
    assert any(output.get("audio") for output in run.outputs.values())
    assert CAPTION in str(run.outputs)
    assert complaints(canvas) == []
