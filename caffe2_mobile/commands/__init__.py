"""The commands: a file each, with main(argv) -> exit status. They turn flags into options and print results, no more.

A command's module is imported only when it runs. The root's and scripts/'s files run the same commands by old names.
"""

import argparse
import importlib
import sys
from typing import NoReturn

from caffe2_mobile import __version__
from caffe2_mobile.commands import program
from caffe2_mobile.commands.program import ArgumentParser

# verb -> what it does, in the order in which one needs them
VERBS = {
    "list": "the zoo's models, with their figures beside the published",
    "export": "a PyTorch model of the zoo to ONNX",
    "convert": "ONNX to a Caffe2 net, float or int8",
    "quantize": "a Caffe2 or ONNX net to an int8 net for QNNPACK",
    "validate": "ImageNet accuracy of a Caffe2, ONNX or PyTorch model",
    "latency": "latency on a device, from its operator table",
    "inspect": "print and check a Caffe2 net",
    "view": "a page that shows a net: graph, time, accuracy",
    "benchmark": "time a Caffe2 net here, operator by operator",
    "optimize": "an ONNX file through ONNX Runtime's optimizations",
    "to-onnx": "a Caffe2 net to ONNX",
    "to-tflite": "a Caffe2 net to TensorFlow Lite, for LiteRT",
    "compile": "an int8 net to a file that runs without Python",
    "train": "train a network of the zoo",
    "search": "search a network for a latency on a device",
    "build-lut": "measure a latency table",
    "download": "the official tables and nets",
    "run": "a script that imports caffe2.python, without Caffe2",
}


def run(verb: str) -> NoReturn:
    """Run a command with the command line's arguments, and exit with its status."""
    program.run(lambda argv: importlib.import_module(f"{__name__}.{verb.replace('-', '_')}").main(argv))


def console() -> NoReturn:
    """The console command: caffe2-mobile VERB ARGUMENTS..."""
    if len(sys.argv) > 1 and sys.argv[1] in VERBS:
        verb = sys.argv.pop(1)
        sys.argv[0] = f"caffe2-mobile {verb}"
        if verb == "run":  # a script's flags and errors are its own
            importlib.import_module(f"{__name__}.run").main(sys.argv[1:])
        run(verb)
    sys.argv[0] = "caffe2-mobile"
    program.run(main)


def main(argv: list[str]) -> int:
    """What is not a verb: --help, --version, a wrong word."""
    width = max(map(len, VERBS))
    parser = ArgumentParser(
        usage="caffe2-mobile VERB ...",
        description="Mobile CNNs: PyTorch, ONNX, Caffe2 and Caffe2 int8; accuracy and latency.",
        epilog="\n".join(["verbs:", *(f"  {verb:{width}}  {what}" for verb, what in VERBS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"caffe2-mobile {__version__}")
    parser.add_argument("verb", nargs="?", metavar="VERB", help="see below; `caffe2-mobile VERB --help` tells of each")
    verb = parser.parse_args(argv).verb
    if verb is not None:
        parser.error(f"no verb {verb!r}; expected one of {', '.join(VERBS)}")
    parser.print_help()
    return 0
