"""One line a check: `ok NAME figures` or `FAIL NAME why`. Whatever keeps a check from running fails it."""

import contextlib
import sys


class Mismatch(Exception):
    """What a check found wrong, as a sentence."""


class Report:
    """The lines printed so far, and how many of them say FAIL."""

    def __init__(self):
        self.checks = self.failed = 0

    @contextlib.contextmanager
    def check(self, name):
        """Runs one check, which appends its figures to the list that it is given and raises if it fails."""
        figures = []
        self.checks += 1
        try:
            yield figures
        except Exception as e:
            self.failed += 1
            kind = "" if isinstance(e, Mismatch) else type(e).__name__ + ": "
            print(f"FAIL {name} {kind}{str(e).strip() or 'no reason given'}".replace("\n", " "), flush=True)
        else:
            print(f"ok {name} {', '.join(figures)}", flush=True)

    def exit(self):
        """Ends the program: 1 where a check failed, and where there was none."""
        if not self.checks:
            print("FAIL nothing was checked")
        sys.exit(1 if self.failed or not self.checks else 0)
