"""What report.html says of any run, read from the files in its workdir."""

import json
import statistics
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train_jax import early_stop, plateau
from train_jax.report.figure import new_figure, svg
from train_jax.report.page import Details, Facts, Fold, Part, Picture, Pictures, Section, Text
from train_jax.report.table import Table
from train_jax.report.tables import draw_curve
from train_jax.run.errors import UserError
from train_jax.run.files import read_arrays
from train_jax.run.log import duration, read_csv
from train_jax.run.workdir import read_config

OUTCOMES = "outcomes.npz"


class Run(NamedTuple):
    """The files of a workdir."""

    workdir: Path
    name: str  # in a comparison, as much of the path as tells runs apart
    record: dict  # config.json
    history: list[dict]  # metrics.csv, [] before the first epoch
    scores: dict | None  # eval.json
    model: str  # model.txt, '' if it is not there
    # outcomes.npz: by split what each example adds to the main score, f32[N] or i32[N, K], in the
    # order of the data
    outcomes: dict[str, np.ndarray] = {}  # noqa: RUF012, nobody changes it

    @property
    def config(self) -> dict:
        return self.record["config"]


class Score(NamedTuple):
    """The one number by which runs of a task are compared, with its 95 % interval."""

    name: str  # 'accuracy on PublicTest'
    n: int
    value: float
    low: float
    high: float
    baseline: float
    digits: int

    def verdict(self) -> str:
        """What is to be said before anything else; '' for a score that is not bad."""
        if self.high >= self.baseline:
            return ""
        return (
            f"The {self.name}, {self.text()}, is worse than the trivial baseline's "
            f"{self.baseline:.{self.digits}f}: this run has learnt nothing that helps."
        )

    def text(self) -> str:
        d = self.digits
        return f"{self.value:.{d}f} [{self.low:.{d}f}, {self.high:.{d}f}]"


def read_run(workdir: Path | str, update: Callable[[dict], dict] | None = None) -> Run:
    """UserError if there is no run, or a file of it is not what a run writes. `update`: see
    workdir.read_config."""
    workdir = Path(workdir)
    record = read_config(workdir, update)
    history, scores, outcomes = [], None, {}
    path = workdir / "metrics.csv"
    try:
        if path.exists():
            history = read_csv(path)
            if any(not {"epoch", "lr", "seconds", "loss"} <= row.keys() for row in history):
                raise ValueError("a column is missing")
        path = workdir / "eval.json"
        if path.exists():
            scores = json.loads(path.read_text(encoding="utf-8"))
            scores["splits"], scores["data"], scores["sha256"]  # noqa: B018, KeyError or TypeError
        path = workdir / OUTCOMES
        if path.exists():
            outcomes = read_arrays(path)
            if any(a.ndim not in (1, 2) or not a.size for a in outcomes.values()):
                raise ValueError("an array of another shape")
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not what a run writes ({error!r}): run --mode=train or --mode=eval again"
        ) from error
    path = workdir / "model.txt"
    model = path.read_text(encoding="utf-8") if path.exists() else ""
    return Run(workdir, workdir.resolve().name, record, history, scores, model, outcomes)


def best_epoch(run: Run) -> int | None:
    """The epoch, from 1, that is evaluated, see checkpoint.py. None before the first."""
    c = run.config["checkpoint"]
    if not run.history:
        return None
    if c.get("select") == "last":
        return len(run.history)
    sign = 1 if c["mode"] == "min" else -1
    ranks = [(sign * row[c["monitor"]], row.get("val_loss", 0.0)) for row in run.history]
    return 1 + ranks.index(min(ranks))


def plateau_cuts(run: Run) -> list[int]:
    """The epochs, from 1, after which ReduceLROnPlateau lowered the learning rate."""
    base_lr = run.config["schedule"]["learning_rate"]
    settings = plateau.Settings(base_lr=base_lr, **run.config["plateau"])
    state, cuts = plateau.init(settings), []
    for row in run.history if settings.enabled else ():
        new = plateau.update(state, row[settings.monitor], settings)
        if new.scale < state.scale:
            cuts.append(int(row["epoch"]))
        state = new
    return cuts


def stopped_early(run: Run) -> bool:
    """Whether EarlyStopping ended the run."""
    settings = early_stop.Settings(**run.config["early_stop"])
    state = early_stop.init(settings)
    for number, row in enumerate(run.history if settings.enabled else ()):
        state = early_stop.update(state, row[settings.monitor], number, settings)
    return bool(state.stop)


def what_was_run(run: Run) -> Section:
    """Command and data; and folded away where the config differs from the base config of the task,
    hashes and versions."""
    r, identity = run.record, run.record["identity"]
    versions = ", ".join(f"{name} {version}" for name, version in r.get("versions", {}).items())
    facts = [
        ("command", r.get("command", "")),
        ("started", r.get("started", "")),
        ("seed", str(run.config["train"]["seed"])),
        ("data", str(identity.get("data", ""))),
    ]
    rows = [
        ("commit", r.get("git_commit", "")),
        ("versions", versions),
        ("machine", r.get("machine", "")),
    ]
    rows += [(key, str(value)) for key, value in identity.items() if "sha256" in key]
    if run.scores:
        rows.append(("sha256 of the data", run.scores["sha256"]))
        rows += [(f"sha256 of {k}", v) for k, v in run.scores.get("split_sha256", {}).items()]
    parts: list[Part] = [Facts(facts)]
    if run.record.get("differs") is not None:  # runs of before 2026-11-26 do not say
        base = f"configs/{run.config['task']}_base.py"
        changed = [
            [d["field"], *(repr(d[k]) if k in d else "-" for k in ("old", "new"))]
            for d in run.record["differs"]
        ]
        if changed:
            table = Table(["field", "base", "this run"], changed)
            parts.append(Fold(f"{len(changed)} settings that differ from {base}", [table]))
        else:
            parts.append(Text(f"All settings are of {base}."))
    parts.append(Fold("versions, machine and hashes", [Facts(rows)]))
    return Section(
        "What was run", [*parts, Details("the whole config", json.dumps(run.config, indent=1))]
    )


def history(run: Run) -> Section:
    """The curves, with the best epoch, the plateau's cuts and the early stop marked."""
    if not run.history:
        return Section("History", [Text("No epoch is finished yet.")])
    best, cuts, stopped = best_epoch(run), plateau_cuts(run), stopped_early(run)
    c = run.config["checkpoint"]
    chosen = "the last" if c.get("select") == "last" else f"the best by {c['monitor']}"
    words = [f"{len(run.history)} epochs; epoch {best}, {chosen}, is evaluated."]
    if cuts:
        factor = run.config["plateau"]["factor"]
        words.append(f"Plateau: learning rate × {factor:g} after epoch {_listing(cuts)}.")
    elif run.config["plateau"]["enabled"]:
        words.append("The plateau never cut the learning rate.")
    if stopped:
        words.append(f"Stopped early after epoch {len(run.history)}.")
    marks = {"evaluated": ([best], "C2", "--"), "plateau cut": (cuts, "C3", ":")}
    marks["early stop"] = ([len(run.history)] if stopped else [], "black", "-.")
    names = [n for n in run.history[0] if f"val_{n}" in run.history[0]] or ["loss", "accuracy"]
    rates = {row["lr"] for row in run.history}
    if len(rates) == 1:
        words.append(f"The learning rate is {rates.pop():.3g} throughout.")
    else:
        names.append("lr")
    pictures = [
        Picture(svg(_curve(run.history, name, marks, legend=name == names[0]))) for name in names
    ]
    return Section("History", [Text(" ".join(words)), Pictures(pictures)])


def _curve(rows, name, marks, *, legend):
    figure = new_figure(3.45, 2.8)
    draw_curve(figure.subplots(), rows, name, marks, legend=legend)
    return figure


def model(run: Run) -> Section:
    """How many parameters there are, and the whole table, if the run wrote one."""
    facts = Facts([("trainable parameters", parameters(run))])
    details = Details("every array with its shape", run.model)
    return Section("Model", [facts, details] if run.model else [])


def parameters(run: Run) -> str:
    """'1,234,567'; '-' for a run of before 2026-11-26, which did not count them."""
    return f"{run.record['parameters']:,}" if "parameters" in run.record else "-"


def timing(run: Run) -> Section:
    """How long it took."""
    if not run.history:
        return Section("Timing", [])
    seconds = [row["seconds"] for row in run.history]
    unit = next(name for name in run.history[0] if name.endswith("/s"))
    rows = [
        ("all epochs", f"{duration(sum(seconds))} for {len(seconds)}"),
        (
            "an epoch",
            f"{statistics.median(seconds):.3g} s (median), the slowest {max(seconds):.3g}",
        ),
        (unit, f"{statistics.median(row[unit] for row in run.history):,.0f} (median, training)"),
    ]
    return Section("Timing", [Facts(rows)])


def _listing(numbers) -> str:
    return ", ".join(map(str, numbers))
