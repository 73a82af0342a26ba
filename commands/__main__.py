"""The program `facestudy`: commands for a clip and for a model, from any folder.

    facestudy predict clip.mp4
    facestudy export models/full/mesonet/1
    facestudy app

Options and messages are those of the modules `commands.predict`, `commands.export` and `commands.app`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NoReturn

from commands.arguments import Parser

COMMANDS = {
    "predict": "how fake a clip looks to a detector: a video, a picture, a folder, a pattern or a link",
    "export": "a trained model as an ONNX file",
    "app": "a local page for one clip at a time",
}
"""Modules of this package with a `main`, and what they do."""


def main() -> NoReturn:
    """Run the command that is named first; what follows is for it."""
    parser = Parser("facestudy", "Score clips with deepfake detectors, or export a model.", "facestudy")
    parser.epilog = "`facestudy COMMAND --help` lists its options."
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=argparse.ArgumentParser)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    name = parser.parse_args(sys.argv[1:2]).command
    if not name:
        parser.error(f"give a command: {', '.join(COMMANDS)}")
    del sys.argv[1]
    sys.exit(importlib.import_module(f"commands.{name}").main())


if __name__ == "__main__":
    main()
