"""Captions of the bank's recordings: the table `captions.json` first, then rules for families of
labels.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from dreamaudio_core.language.captions import caption_from_label, with_article

LANGUAGES = {
    "be": "Belarusian",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "eu": "Basque",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "ja": "Japanese",
    "lt": "Lithuanian",
    "nl": "Dutch",
    "pl": "Polish",
    "ro": "Romanian",
    "ru": "Russian",
    "sl": "Slovene",
}
STRENGTHS = {
    "hardest": "very hard",
    "hard": "hard",
    "med": "",
    "soft": "softly",
    "softest": "very softly",
}
STRUCK = {
    "agogo high": "a high agogo bell",
    "agogo low": "a low agogo bell",
    "bongo hi": "a high bongo",
    "bongo lo": "a low bongo",
    "cajon slaps": "a cajon edge",
    "cajon thumps": "a cajon",
    "clave": "a clave",
    "cowbell": "a cowbell",
    "crash": "a crash cymbal",
    "crash ride": "a crash-ride cymbal",
    "crash ride bell": "a crash-ride cymbal bell",
    "crash ride bow": "a crash-ride cymbal bow",
    "crash i ride cup": "a cymbal cup",
    "floortom": "a floor tom",
    "hi hat closed": "a closed hi-hat",
    "hi hat open": "an open hi-hat",
    "hi hat semiopen": "a half-open hi-hat",
    "hihat closed": "a closed hi-hat",
    "hihat open": "an open hi-hat",
    "hihat semi open": "a half-open hi-hat",
    "kick": "a bass drum",
    "paiste bell": "a ride cymbal bell",
    "paiste ride": "a ride cymbal",
    "paiste ride flink": "a ride cymbal edge",
    "pearl kick": "a bass drum",
    "pearl side stick": "a side stick",
    "pearl snare": "a snare drum",
    "pearl snare rimshot": "a rimshot snare drum",
    "pearl tom": "a tom",
    "pearl tom floor": "a floor tom",
    "ride": "a ride cymbal",
    "ride bell": "a ride cymbal bell",
    "ride bow": "a ride cymbal bow",
    "sabian crash": "a crash cymbal",
    "sabian crash flink": "a crash cymbal edge",
    "sabian hat choke": "a choked hi-hat",
    "sabian hat closed": "a closed hi-hat",
    "sabian hat open": "an open hi-hat",
    "sabian hat pedal": "a hi-hat pedal",
    "sabian hat semi open": "a half-open hi-hat",
    "sabian hat swish": "a swishing hi-hat",
    "snare": "a snare drum",
    "snare rim": "a snare drum rim",
    "splash": "a splash cymbal",
    "stick": "a drum stick",
    "tambourine": "a tambourine",
    "tom": "a tom",
    "tom a": "a tom",
    "tom hi": "a high tom",
    "tom high": "a high tom",
    "tom low": "a low tom",
    "tom mid": "a middle tom",
    "waterglass hi": "a high water glass",
    "waterglass lo": "a low water glass",
    "wood block": "a wood block",
    "zildjian splash": "a splash cymbal",
    "zildjian splash choke": "a choked splash cymbal",
    "fingersnap": "a finger snap",
    "hand clap": "a hand clap",
    "vp hat cl": "a closed hi-hat",
    "vp hat op": "an open hi-hat",
    "vp hat pd": "a hi-hat pedal",
    "vp kick": "a dry bass drum",
    "vp snare": "a dry snare drum",
    "vp tom hi": "a dry high tom",
    "vp tom low": "a dry low tom",
    "vp tom mid": "a dry tom",
    "maraca": "a maraca",
}
SPEAKERS = {
    "British": "a British hedgehog",
    "Classic": "a cartoon hedgehog",
    "Default": "a hedgehog",
    "HillBilly": "a hillbilly hedgehog",
    "Mobster": "a mobster hedgehog",
    "Pirate": "a pirate hedgehog",
    "Robot": "a robot hedgehog",
    "Russian": "a Russian hedgehog",
    "Singer": "a singing hedgehog",
    "Surfer": "a surfer hedgehog",
}
VOCAL = {
    "laugh": "laughs",
    "ooff": "gasps",
    "ow": "yelps",
    "poison-cough": "coughs",
    "poison-moan": "moans",
}
VOICED = {
    "ack": "answers an order",
    "select": "speaks up",
    "attack": "yells in attack",
    "die": "dies with a cry",
}
NUMBERS = {
    0: "zero",
    1: "one",
    2: "two",
    3: "three",
    4: "four",
    5: "five",
    6: "six",
    7: "seven",
    8: "eight",
    9: "nine",
    10: "ten",
    11: "eleven",
    12: "twelve",
    13: "thirteen",
    14: "fourteen",
    15: "fifteen",
    16: "sixteen",
    17: "seventeen",
    18: "eighteen",
    19: "nineteen",
    20: "twenty",
    30: "thirty",
    40: "forty",
    50: "fifty",
    60: "sixty",
    70: "seventy",
    80: "eighty",
    90: "ninety",
}
DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
SPELLING = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (
            "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike "
            "november oscar papa quebec "
            "romeo sierra tango uniform victor whiskey x-ray yankee zulu"
        ).split(),
    )
)
PROMPT_PREFIX = re.compile(
    r"^(vm|conf|confbridge|queue|priv|privacy|dir|agent|pbx|demo|spy|astcc|dictate|auth|call)-"
)
# Rough styles by the name of the game, for the pieces of music that carry no caption.
MUSIC_STYLES = {
    "freecol/sunrise|tailwind|founders|settlers|fearless": "folk music",
    "anthem": "an anthem",
    "musicbox": "a music box tune",
    "naev": "electronic space music",
    "widelands": "orchestral music",
    "unknown-horizons": "orchestral music",
    "supertux": "cheerful game music",
    "hedgewars": "lively game music",
    "colobot": "electronic music",
    "megaglest": "medieval music",
    "lugaru": "dark ambient music",
    "freecol": "orchestral music",
    "loop": "a beat",
    "final": "bugle music",
}


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    return json.loads(Path(__file__).with_name("captions.json").read_text(encoding="utf-8"))


def describe(label: str, path: str, kind: str, sidecar: str | None = None) -> str:
    """Caption of one recording.

    `label` is `prefix/stem`, `path` the file within the sounds folder, `sidecar` the text that
    comes with the file.
    """
    prefix, _, stem = label.partition("/")
    if sidecar and prefix in ("speech", "instrument", "synthesis"):
        return sidecar
    table = _table()
    if (
        stem in table.get(prefix, {})
        and not (prefix == "hedgewars" and "/voices/" in path)
        and prefix != "asterisk"
    ):
        return table[prefix][stem]
    rule = {
        "hedgewars": _hedgehog,
        "hydrogen": _drum,
        "asterisk": _telephone,
        "tuxpaint": _stamp,
        "megaglest": _unit,
        "sonic-pi": _sample,
        "minetest": _block,
        "unknown-horizons": _voice_of_the_world,
    }.get(prefix)
    if kind == "music":
        return _music(path)
    return (rule(stem, path, sidecar) if rule else None) or caption_from_label(label)


def _music(path: str) -> str:
    for key, style in MUSIC_STYLES.items():
        if re.search(key, path):
            return f"{style} plays"
    return "music plays"


def _block(stem: str, path: str, sidecar: str | None) -> str | None:
    return caption_from_label(stem.removeprefix("default-"))


def _voice_of_the_world(stem: str, path: str, sidecar: str | None) -> str | None:
    return "a narrator tells a story" if "/voice/" in path else None


def _hedgehog(stem: str, path: str, sidecar: str | None) -> str | None:
    match = re.search(r"/voices/([A-Za-z]+)", path)
    if not match:
        return None
    translated = re.search(r"/voices/[A-Za-z]+_", path)
    subject = "a hedgehog" if translated else SPEAKERS.get(match[1], "a hedgehog")
    if stem in VOCAL:
        return f"{subject} {VOCAL[stem]}"
    words = _table()["hedgewars-voice"].get(stem, stem.replace("-", " "))
    language = re.search(r"_(es|pl|ru|uk)/", path)
    names = {"es": "Spanish", "pl": "Polish", "ru": "Russian", "uk": "Ukrainian"}
    return f"{subject} shouts {words}" + (f" in {names[language[1]]}" if language else "")


def _drum(stem: str, path: str, sidecar: str | None) -> str | None:
    words = stem.split("-")
    strength = STRENGTHS.get(words[-1])
    name = " ".join(words[:-1] if strength is not None else words)
    if name not in STRUCK:
        return None
    verb = {
        "tambourine": "is shaken",
        "maraca": "is shaken",
        "finger snap": "sounds",
        "hand clap": "sounds",
    }.get(STRUCK[name].partition(" ")[2], "is hit")
    return f"{STRUCK[name]} {verb} {strength or ''}".strip()


def _telephone(stem: str, path: str, sidecar: str | None) -> str:
    name = Path(path).stem.lower()
    folder = Path(path).parent.name
    words = _table()["asterisk"].get(stem)
    if words and words.startswith("!"):
        return words[1:]
    if folder == "digits":
        match = re.fullmatch(r"(h-|day-|mon-)?(\d+)", name)
        if match:
            number = int(match[2])
            words = {
                "day-": lambda: DAYS[number],
                "mon-": lambda: MONTHS[number],
                "h-": lambda: "number " + NUMBERS[number],
                None: lambda: NUMBERS[number],
            }[match[1]]()
    elif folder == "letters" and len(name) == 1:
        words = f"the letter {name}"
    elif folder == "phonetic":
        words = SPELLING.get(name[0], "nine")
    words = words or PROMPT_PREFIX.sub("", stem).replace("-", " ").replace("pls", "please")
    return f"a woman on the phone says {words}"


def _stamp(stem: str, path: str, sidecar: str | None) -> str | None:
    name = Path(path).stem
    match = re.search(r"_desc(?:_([a-z]{2}))?", name)
    thing = re.sub(r"-(desc|en-gb|filled|outline).*$", "", stem).replace("-", " ").strip()
    if match:
        thing = "a number" if stem.startswith("desc") else thing
        return (
            f"a voice says {thing} in {LANGUAGES.get(match[1], 'another language')}"
            if match[1]
            else f"a voice says {thing}"
        )
    if re.search(r"/alphabets/", path):
        return f"a voice says the letter {thing}"
    if re.search(r"/math/\d", path):
        return f"a voice says {NUMBERS.get(int(re.search(r'[0-9]+', name)[0]), 'a number')}"
    return None


def _unit(stem: str, path: str, sidecar: str | None) -> str | None:
    match = re.fullmatch(r"(.+)-(ack|select|attack|die)", stem)
    animals = {
        "bull",
        "cow",
        "pig",
        "chicken",
        "eagle",
        "dragon",
        "evil-dragon",
        "behemoth",
        "golem",
        "snake",
        "dr",
        "sheep",
    }
    if (
        match
        and match[1] not in animals
        and match[1] not in ("orni", "machine", "airship", "tower", "catapult", "carpet")
    ):
        subject = caption_from_label(match[1] + "-fly")[: -len(" flies")]
        return f"{subject} {VOICED[match[2]]}"
    match = re.fullmatch(r"behemoth-attack-([a-h])", stem)
    if match:
        return "a huge beast roars in attack"
    if stem.startswith("behemoth"):
        return caption_from_label(stem.replace("behemoth", "huge beast"))
    return None


def _sample(stem: str, path: str, sidecar: str | None) -> str | None:
    if stem.startswith("bd-"):
        style = {
            "haus": "house",
            "klub": "club",
            "tek": "techno",
            "fat": "fat",
            "boom": "booming",
            "pure": "pure",
        }.get(stem[3:])
        return f"{with_article((style or 'synthetic') + ' bass drum')} is hit"
    if stem.startswith("tabla"):
        return "a tabla is hit"
    return None
