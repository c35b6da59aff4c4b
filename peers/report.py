"""What a run found: pairs of timings, checks, what was skipped; as text with the ratios first, and as JSON."""

import dataclasses
import json
import statistics

SCHEMA = 1  # of the JSON


@dataclasses.dataclass
class Row:
    """One thing that both did, again and again in turn: ours[i] was measured next to theirs[i].

    A figure is a rate, or seconds; ours may be empty where assay has nothing to put beside.
    """

    peer: str
    what: str
    unit: str
    ours: list
    theirs: list
    target: float | None = None  # least ratio
    note: str = ""

    def ratios(self):
        """How many times as fast assay is, by pair."""
        pairs = zip(self.ours, self.theirs, strict=False)
        return [b / a if self.unit == "s" else a / b for a, b in pairs]

    def ratio(self):
        """How many times as fast assay is, by the medians; None where there is no pair."""
        if not self.ours or not self.theirs:
            return None
        a, b = statistics.median(self.ours), statistics.median(self.theirs)
        return b / a if self.unit == "s" else a / b

    def met(self):
        return None if self.target is None or self.ratio() is None else self.ratio() >= self.target

    def as_json(self):
        out = {**dataclasses.asdict(self), "ratio": self.ratio(), "met": self.met()}
        for side in ("ours", "theirs"):
            samples = getattr(self, side)
            out[side] = {"median": statistics.median(samples) if samples else None, "samples": samples}
        return out


@dataclasses.dataclass
class Check:
    """Whether two programs agree where they must."""

    peer: str
    what: str
    good: bool
    says: str


class Report:
    """Everything that a run found. about is what stands above and below the figures: machine, versions, options."""

    def __init__(self, about):
        self.about, self.versions = about, {}
        self.rows, self.checks, self.skipped = [], [], {}

    def row(self, *args, **kwargs):
        self.rows.append(Row(*args, **kwargs))

    def check(self, peer, what, good, says):
        self.checks.append(Check(peer, what, bool(good), says))

    def skip(self, peer, why):
        self.skipped[peer] = why

    def wrong(self):
        return [c for c in self.checks if not c.good]

    def missed(self):
        return [r for r in self.rows if r.met() is False]

    def as_json(self):
        return {
            "schema": SCHEMA,
            "what": "bin/assay beside other programs that do the same work, made by peers/run.sh: samples in the order "
            "they were taken, ours and theirs in turn; ratio: how many times as fast assay is, by the medians.",
            **self.about,
            "versions": self.versions,
            "rows": [r.as_json() for r in self.rows],
            "checks": [dataclasses.asdict(c) for c in self.checks],
            "skipped": self.skipped,
        }

    def write(self, path):
        path.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")

    def text(self):
        """The whole report, ratios first, and of those first the ones that have a target."""
        parts = [self.ratio_table(), self.raw_table(), *self.others()]
        return "\n\n".join(p for p in parts if p) + "\n"

    def ratio_table(self):
        lines = [["assay is so many times as fast", "ratio", "pairs", "repetitions", "target", ""]]
        for r in sorted(self.rows, key=lambda r: r.target is None):
            if r.ratio() is None:
                continue
            lo, hi = min(r.ratios()), max(r.ratios())
            target = "" if r.target is None else f"{r.target:g}x"
            verdict = {None: "", True: "met", False: "MISSED"}[r.met()]
            pairs = f"{lo:.2f} to {hi:.2f}"
            lines.append([f"{r.peer}: {r.what}", f"{r.ratio():.2f}x", pairs, count(r), target, verdict])
        return table(lines) if len(lines) > 1 else ""

    def raw_table(self):
        lines = [["median (lowest to highest)", "assay", "peer", "", ""]]
        lines += [[f"{r.peer}: {r.what}", spread(r.ours), spread(r.theirs), r.unit, r.note] for r in self.rows]
        return table(lines) if len(lines) > 1 else ""

    def others(self):
        yield "\n".join(f"{'ok   ' if c.good else 'WRONG'} {c.peer}: {c.what}: {c.says}" for c in self.checks)
        yield "\n".join(f"skipped: {peer}: {why}" for peer, why in self.skipped.items())
        about = [f"{k}: {v}" for k, v in {**self.about, **self.versions}.items()]
        yield "\n".join(about)


def count(r):
    a, b = len(r.ours), len(r.theirs)
    return str(a) if a == b else f"{a} and {b}"


def figure(v):
    return f"{v:,.0f}" if v >= 1000 else f"{v:.1f}" if v >= 10 else f"{v:.2f}"


def spread(samples):
    if not samples:
        return "-"
    return f"{figure(statistics.median(samples))} ({figure(min(samples))} to {figure(max(samples))})"


def table(lines):
    """Columns two spaces apart, the first to the left and the rest to the right but for the last."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(widths) - 1

    def cell(i, text):
        return text.ljust(widths[i]) if i in (0, last) else text.rjust(widths[i])

    return "\n".join("  ".join(cell(i, text) for i, text in enumerate(line)).rstrip() for line in lines)
