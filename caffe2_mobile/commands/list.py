"""List the zoo: what each model costs, counted on the built model, beside what was published of it.

Parameters and multiply-adds follow the counting rule of the table that the model stands in; a * marks a
count that differs from the published figure at its printed precision.
"""

import argparse
import sys

from caffe2_mobile.api.models import ListOptions, ModelList, list_models
from caffe2_mobile.commands.program import ArgumentParser, options_from

FORMATS = {"text": ModelList.to_text, "csv": ModelList.to_csv, "markdown": ModelList.to_markdown}


def main(argv: list[str]) -> int:
    """Print the models that match."""
    args = parse(argv)
    models = list_models(args.pattern, options_from(ListOptions, args))
    if args.names:
        print("\n".join(models.names))
    else:
        sys.stdout.write(FORMATS[args.format](models))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="*", default=["*"], help="names, with wildcards (default: all)")
    parser.add_argument("--published", action="store_true", help="only lines of the published tables")
    parser.add_argument("--pretrained", action="store_true", help="only models with published weights")
    parser.add_argument("--names", action="store_true", help="only the names, aliases too, one per line")
    parser.add_argument("--format", choices=list(FORMATS), default="text")
    return parser.parse_args(argv)
