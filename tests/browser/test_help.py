"""The help pages as the canvas shows them, in the language of the interface."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains

NODE = "DreamAudioScene"
INFO = "[data-testid=info-button], button:has([class*='lucide--info'])"
LANGUAGES = {"en": ("Prompt and references in, sound out", "Notes"), "zh": ("一个节点", "说明")}


@pytest.fixture
def page(canvas):
    """Gives the interface a language, and English back."""

    def open_in(language):
        canvas.run("await app.ui.settings.setSettingValueAsync('Comfy.Locale', args[0]);", language)
        # A change of language draws the workflow anew, at a time of its own.
        canvas.open()
        canvas.errors()
        canvas.run(
            "app.graph.clear(); const node = LiteGraph.createNode(args[0]); node.pos = [200, 100];"
            "app.graph.add(node); app.canvas.ds.reset(); app.canvas.setDirty(true, true);",
            NODE,
        )
        canvas.settle()
        return canvas

    yield open_in
    # The server keeps both for the tests that follow; a side panel moves nodes when one is chosen.
    for name, value in (("Comfy.Locale", "en"), ("Comfy.RightSidePanel.IsOpen", False)):
        canvas.run("await app.ui.settings.setSettingValueAsync(args[0], args[1]);", name, value)
    canvas.open()
    canvas.errors()


def select(canvas):
    """Click the node's title until it is selected; a slow page may not have drawn it yet."""
    for _ in range(20):
        x, y = canvas.run("""
            const node = app.graph.nodes[0], { scale, offset } = app.canvas.ds;
            const box = app.canvas.canvas.getBoundingClientRect();
            return [box.left + (node.pos[0] + offset[0] + 120) * scale,
                    box.top + (node.pos[1] + offset[1] - 15) * scale];
        """)
        click = ActionChains(canvas.driver)
        click.w3c_actions.pointer_action.move_to_location(round(x), round(y)).click()
        click.perform()
        try:
            return canvas.until(f'return document.querySelector("{INFO}")', 5)
        except AssertionError:
            continue
    raise AssertionError("the node cannot be selected")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_node_has_its_page_with_a_picture(page, language):
    canvas = page(language)
    select(canvas)
    canvas.run("document.querySelector(args[0]).click();", INFO)
    for text in LANGUAGES[language]:
        canvas.until(f"return document.body.innerText.includes('{text}')")
    canvas.until(
        "return [...document.images].some(i => i.src.includes"
        f"('/extensions/dreamaudio/docs/images/{NODE}.webp') && i.naturalWidth > 100)"
    )
