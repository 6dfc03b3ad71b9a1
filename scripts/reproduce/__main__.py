"""Reproduce docs/results.md: train what is missing, write a table and a figure for every item.

    python scripts/reproduce                 all of it
    python scripts/reproduce paper depth     some of it

Finished runs in runs/reproduce/ are reused and interrupted ones resumed: stop it with Ctrl-C, start it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from recipes.items import ITEMS, names

from maml_exp.core.checks import SettingError


def main() -> int:
    """Run the items chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", nargs="*", help=", ".join(ITEMS))
    parser.add_argument("--out", type=Path, default=Path("runs") / "reproduce-results", help="for tables and figures")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    options = parser.parse_args()
    unknown = [item for item in options.items if item not in ITEMS]
    if unknown:
        parser.error(f"{unknown[0]} is not an item; choose from {', '.join(ITEMS)}")
    for name in names(options.items):
        started = time.perf_counter()
        try:
            ITEMS[name](options.out, options.jobs)
        except SettingError as error:
            print(f"reproduce: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("reproduce: interrupted; the same command goes on from here", file=sys.stderr)
            return 130
        print(f"{name}: {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
