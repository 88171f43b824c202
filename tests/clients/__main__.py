"""AWS's own clients, unmodified, against a running platform: python3 tests/clients ENDPOINT BUCKET FUNCTION WORKDIR.

Prints a line for each check and names every one that failed.
"""
import sys
import traceback

import functions
import lists
import logs
import objects
import posts
import queues
import settings
import tables


def main() -> int:
    failed = []
    for module in (objects, lists, posts, settings, queues, tables, functions, logs):
        for name, check in vars(module).items():
            if not name.startswith("check_"):
                continue
            title = f"{module.__name__}: {name.removeprefix('check_').replace('_', ' ')}"
            try:
                check()
                print(f"ok      {title}", flush=True)
            except Exception:  # every check is tried, whatever the others did
                failed.append(title)
                print(f"FAILED  {title}", flush=True)
                traceback.print_exc()
    if failed:
        print("failed: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed else 0


sys.exit(main())
