"""The listening-test page in a real browser, and the means of its answers."""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from pathlib import Path

import pytest
import soundfile

import dreamaudio_core
from chromium import find_browser, open_browser
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.evaluation import cli
from dreamaudio_core.evaluation.listening import build_listening_page, read_ratings
from dreamaudio_core.scene.scenes import Scene, SceneReference

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"
NAMES = ("cash_register", "crow", "guitar")
NASTY = 'a "quoted" </script><script>document.title = "broken"</script> & <b>bold</b> prompt'


@pytest.fixture
def page(tmp_path, request) -> Path:
    """A page of two systems and three items, one of them with a reference and a prompt that looks
    like markup.

    Its title is the test's, so that tests find nothing in the browser's storage from one another.
    """
    for system, level in (("ours", 1.0), ("theirs", 0.5)):
        folder = tmp_path / system
        folder.mkdir()
        for name in NAMES:
            waveform = level * read_audio(EXAMPLES / f"{name}.flac")[:8_000]
            soundfile.write(folder / f"{name}.wav", waveform.numpy(), 16_000)
    items = {name: Scene(f"the sound of a {name}") for name in NAMES}
    items["crow"] = Scene(NASTY, (SceneReference(EXAMPLES / "crow.flac", "a <i>crow</i> caws"),))
    out = tmp_path / "page.html"
    count = build_listening_page(
        {s: tmp_path / s for s in ("ours", "theirs")}, items, out, title=request.node.name
    )
    assert count == 6
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium with a profile and a download folder of its own."""
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not all(find_browser()):
        pytest.skip("chromium or chromedriver is not installed")
    found = open_browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.quit()


def wait(condition, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the browser did not get there in time"
        time.sleep(0.05)
    return value


def element(browser, selector: str):
    return browser.find_element("css selector", selector)


def begin(browser, page: Path, listener: str) -> None:
    browser.get(page.as_uri())
    element(browser, "#listener").send_keys(listener)
    element(browser, "#begin").click()


def shown(browser) -> dict:
    """What the page shows and which clip that is."""
    return browser.execute_script("""
        const clip = DATA.clips[order[state.current]];
        return {position: byId("position").textContent, prompt: byId("prompt").textContent, item: clip.item,
                system: clip.system, references: byId("reference-list").innerText, text: document.body.innerText};""")


def play(browser) -> None:
    browser.execute_async_script(
        "const done = arguments[0]; byId('clip').play().then(() => done(), (e) => done(e));"
    )
    wait(
        lambda: browser.execute_script(
            "return byId('clip').readyState >= 2 && byId('clip').duration > 0.4"
        )
    )


def rate(browser, ovl: int, rel: int) -> None:
    play(browser)
    element(browser, f"#ovl input[value='{ovl}']").click()
    element(browser, f"#rel input[value='{rel}']").click()
    # The page hears of the playing by an event, which may come late.
    wait(element(browser, "#next").is_enabled)


def export(browser, listener: str) -> list[dict]:
    """Save the answers through the page's own button and read them."""
    file = browser.downloads / f"ratings-{listener}.csv"
    file.unlink(missing_ok=True)
    button = next(b for b in browser.find_elements("css selector", ".export") if b.is_displayed())
    button.click()
    wait(file.is_file)
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_listener_rates_everything_and_saves_the_answers(page, browser):
    begin(browser, page, "anna")
    given = []
    for number in range(6):
        now = shown(browser)
        assert now["position"] == f"Sound {number + 1} of 6"
        assert "ours" not in now["text"] and "theirs" not in now["text"], (
            "the page must not show the systems"
        )
        ovl, rel = 1 + number % 5, 5 - number % 5
        rate(browser, ovl, rel)
        given.append(
            {
                "listener": "anna",
                "position": str(number + 1),
                "item": now["item"],
                "system": now["system"],
                "ovl": str(ovl),
                "rel": str(rel),
            }
        )
        element(browser, "#next").click()
    wait(element(browser, "#done").is_displayed)
    assert {(g["item"], g["system"]) for g in given} == {
        (n, s) for n in NAMES for s in ("ours", "theirs")
    }
    assert export(browser, "anna") == given
    means = read_ratings([browser.downloads / "ratings-anna.csv"])
    for system in ("ours", "theirs"):
        mine = [g for g in given if g["system"] == system]
        assert means[system]["ovl"] == pytest.approx(sum(int(g["ovl"]) for g in mine) / 3)
        assert means[system]["ratings"] == 3 and means[system]["listeners"] == 1
    errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert errors == []


def test_nothing_can_be_left_out(page, browser):
    begin(browser, page, "ben")
    following = element(browser, "#next")
    assert not following.is_enabled()
    for scale in ("ovl", "rel"):
        assert len(browser.find_elements("css selector", f"#{scale} input[type=radio]")) == 5
        element(browser, f"#{scale} input[value='3']").click()
    assert not following.is_enabled(), "a sound that was not heard cannot be rated"
    play(browser)
    wait(following.is_enabled)
    following.click()
    assert not following.is_enabled() and not browser.find_elements("css selector", "input:checked")


def test_progress_is_kept_and_answers_can_be_changed(page, browser):
    begin(browser, page, "cleo")
    first = shown(browser)
    rate(browser, 2, 4)
    element(browser, "#next").click()
    second = shown(browser)
    browser.get("about:blank")

    def reloaded():
        # The browser may write its storage only after the next page has been opened.
        browser.get(page.as_uri())
        return browser.execute_script("return state !== null")

    wait(reloaded)
    assert shown(browser) == second and second["position"] == "Sound 2 of 6"
    element(browser, "#back").click()
    assert shown(browser)["item"] == first["item"]
    assert element(browser, "#ovl input:checked").get_attribute("value") == "2"
    element(browser, "#ovl input[value='5']").click()
    assert [(r["ovl"], r["rel"]) for r in export(browser, "cleo")] == [("5", "4")]


def test_every_listener_has_an_order_and_answers_of_their_own(page, browser):
    browser.get(page.as_uri())
    orders = browser.execute_script("""
        const found = [];
        for (let i = 0; i < 40; i++) { open("listener" + i); found.push(order.join()); }
        open("listener0");
        return found.concat([order.join()]);""")
    assert orders[0] == orders[-1] and len(set(orders)) > 30
    assert all(sorted(o.split(",")) == list("012345") for o in orders)
    firsts = {o.split(",")[0] for o in orders}
    assert firsts == set("012345"), "every clip must come first for some"
    rate(browser, 1, 1)
    answers = browser.execute_script("open('listener1'); return Object.keys(state.answers).length;")
    assert answers == 0


def test_texts_are_shown_as_they_are_and_references_play(page, browser, request):
    begin(browser, page, "dora")
    for _ in range(6):
        now = shown(browser)
        if now["item"] == "crow":
            break
        rate(browser, 3, 3)
        element(browser, "#next").click()
    assert now["prompt"] == NASTY and browser.title == request.node.name
    assert "a <i>crow</i> caws" in now["references"]
    reference = "document.querySelector('#reference-list audio')"
    wait(lambda: browser.execute_script(f"return {reference}.readyState >= 1"))
    length = browser.execute_script(f"return {reference}.duration")
    assert length == pytest.approx(soundfile.info(EXAMPLES / "crow.flac").duration, abs=0.05)


def test_a_code_with_other_characters_is_not_taken(page, browser):
    begin(browser, page, "=HYPERLINK(1)")
    assert element(browser, "#start").is_displayed()
    element(browser, "#listener").clear()
    element(browser, "#begin").click()
    assert re.fullmatch("L[0-9a-f]{8}", browser.execute_script("return state.listener"))


def test_the_questions_are_the_paper_s_in_sense(page):
    """Quality of the sound by itself; whether the events that are asked for are in it, as the
    references have them (paper, section IV-C).
    """
    legends = re.findall(r"<legend>(.*?)</legend>", page.read_text(encoding="utf-8"))
    assert [legend.split(":")[0] for legend in legends] == ["OVL", "REL"]
    assert "quality" in legends[0]
    assert all(word in legends[1] for word in ("events", "asked for", "references"))


def test_the_page_is_one_file_that_loads_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:)", text) and "http" not in text.replace(
        "http-equiv", ""
    )
    data = json.loads(re.search(r'application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert {c["system"] for c in data["clips"]} == {"ours", "theirs"}
    assert all(c["audio"].startswith("data:audio/flac;base64,") for c in data["clips"])


def test_the_same_input_gives_the_same_page_and_a_draw_depends_on_its_seed(page, tmp_path):
    systems = {"ours": tmp_path / "ours"}
    items = {name: Scene(name) for name in NAMES}
    texts = []
    for number, seed in enumerate((0, 0, *range(1, 9))):
        out = tmp_path / f"{number}.html"
        assert build_listening_page(systems, items, out, count=1, seed=seed) == 1
        texts.append(out.read_text(encoding="utf-8"))
    assert texts[0] == texts[1] and len(set(texts)) == 3


def test_missing_clips_and_wrong_counts_are_refused(page, tmp_path):
    items = {name: Scene(name) for name in (*NAMES, "dog")}
    (tmp_path / "ours" / "dog.wav").write_bytes((tmp_path / "ours" / "crow.wav").read_bytes())
    both = {system: tmp_path / system for system in ("ours", "theirs")}
    with pytest.raises(InputError, match="system theirs: 1 of 4 items have no clip.*'dog'"):
        build_listening_page(both, items, tmp_path / "new.html")
    with pytest.raises(InputError, match="none of the 1 items has a clip, 'x'"):
        build_listening_page(both, {"x": Scene("x")}, tmp_path / "new.html")
    with pytest.raises(InputError, match="count: expected 1 to 4"):
        build_listening_page({"ours": tmp_path / "ours"}, items, tmp_path / "new.html", count=5)
    with pytest.raises(InputError, match="at least one system"):
        build_listening_page({}, items, tmp_path / "new.html")
    (tmp_path / "ours" / "dog.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="dog.wav"):
        build_listening_page({"ours": tmp_path / "ours"}, items, tmp_path / "new.html")
    assert not (tmp_path / "new.html").exists()


def test_a_test_set_that_was_generated_in_part_is_rated_in_part(page, tmp_path):
    items = {name: Scene(name) for name in (*NAMES, "dog", "cat")}
    both = {system: tmp_path / system for system in ("ours", "theirs")}
    assert build_listening_page(both, items, tmp_path / "new.html") == 6
    assert build_listening_page(both, items, tmp_path / "new.html", count=3) == 6
    with pytest.raises(InputError, match="count: expected 1 to 3"):
        build_listening_page(both, items, tmp_path / "new.html", count=4)


def write_ratings(
    path: Path, rows: list[str], header: str = "listener,position,item,system,ovl,rel"
) -> Path:
    path.write_text("\r\n".join([header, *rows]), encoding="utf-8")
    return path


def test_means_and_intervals_by_hand(tmp_path):
    a = write_ratings(tmp_path / "a.csv", ["a,1,x,ours,5,4", "a,2,y,ours,3,4", "a,3,x,theirs,1,2"])
    b = write_ratings(tmp_path / "b.csv", ["b,1,x,ours,4,4"])
    found = read_ratings([a, b])
    assert found["ours"] == pytest.approx(
        {"ovl": 4, "rel": 4, "ovl_ci95": 1.96 / 3**0.5, "rel_ci95": 0, "ratings": 3, "listeners": 2}
    )
    assert found["theirs"]["ovl"] == 1 and found["theirs"]["ovl_ci95"] == 0


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a,1,x,ours,6,4"], None, "line 2: ovl: expected 1 to 5, found '6'"),
        (["a,1,x,ours,5,"], None, "line 2: column 'rel'"),
        (["a,1,x,ours,5,4", "a,2,x,ours,5,4"], None, "line 3: a rated x of ours twice"),
        (["a,1"], "listener,position", "column 'item'"),
        ([], None, "holds no ratings"),
    ],
)
def test_wrong_ratings_are_named(rows, header, message, tmp_path):
    path = write_ratings(tmp_path / "a.csv", rows, *([header] if header else []))
    with pytest.raises(InputError, match=message):
        read_ratings([path])


def test_the_commands_write_the_page_and_average_the_answers(page, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers(required=True))
    (tmp_path / "prompts.json").write_text(json.dumps({"crow": "a crow caws"}), encoding="utf-8")
    args = parser.parse_args(
        [
            "evaluate",
            "listening",
            "--system",
            f"ours={tmp_path / 'ours'}",
            "--system",
            str(tmp_path / "theirs"),
            "--prompts",
            str(tmp_path / "prompts.json"),
            "--out",
            str(tmp_path / "new.html"),
        ]
    )
    assert args.run(args) == 0 and "2 clips" in capsys.readouterr().out
    assert (tmp_path / "new.html").stat().st_size > 10_000
    ratings = write_ratings(tmp_path / "a.csv", ["a,1,crow,ours,5,4"])
    args = parser.parse_args(["evaluate", "ratings", str(ratings)])
    assert args.run(args) == 0
    assert json.loads(capsys.readouterr().out)["ours"]["rel"] == 4
