"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..scene.timeline import MISSING, parse_starts

if TYPE_CHECKING:
    from ..scene.reference import Reference


class _ReferenceOption(argparse.Action):
    """`--reference FILE CAPTION` opens a reference; `--at` and `--strength` belong to the last."""

    def __call__(self, parser, namespace, values, option_string=None):
        references = list(getattr(namespace, "references", None) or [])
        if option_string == "--reference":
            references.append(
                {"file": values[0], "caption": values[1], "starts": [], "strength": 1.0}
            )
        elif not references:
            parser.error(
                f"{option_string} belongs to the --reference before it; put a --reference first"
            )
        elif option_string == "--at":
            references[-1]["starts"] += values or []
        else:
            references[-1]["strength"] = values
        namespace.references = references


def _starts(text: str) -> tuple[float, ...] | None:
    try:
        return parse_starts(text, "--at")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    """What is to be made: prompt, references, length."""
    parser.add_argument("--prompt", required=True, help="text description of the audio")
    parser.add_argument(
        "--reference",
        action=_ReferenceOption,
        nargs=2,
        metavar=("FILE", "CAPTION"),
        dest="references",
        help="a reference sound and what it sounds like; repeat for more",
    )
    parser.add_argument(
        "--at",
        action=_ReferenceOption,
        type=_starts,
        metavar="SECONDS",
        dest="references",
        help="start of the preceding --reference, or several, as in 0.5,3.2; may be repeated "
        "(default: as the arranger reads the prompt)",
    )
    parser.add_argument(
        "--strength",
        action=_ReferenceOption,
        type=float,
        metavar="X",
        dest="references",
        help="guidance scale of the preceding --reference alone (default 1)",
    )
    parser.add_argument("--seconds", type=float, help="length (default: the model's own)")
    parser.add_argument(
        "--missing",
        choices=MISSING,
        default="auto",
        help="parts of the prompt without a reference: generate them, keep silence, or (auto) "
        "generate only if the prompt asks for more than the references",
    )
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ...")


def load_references(given: list[dict[str, Any]] | None) -> list[Reference]:
    """References of the command line."""
    from ..scene.reference import load_reference

    return [
        load_reference(
            r["file"], r["caption"], r["strength"], sorted(r["starts"]) or None, f"reference {i}"
        )
        for i, r in enumerate(given or [], 1)
    ]
