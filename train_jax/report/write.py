"""report.html of one run, comparison.html of several."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from train_jax.report import run as report_run
from train_jax.report.compare import ScoreOf, comparison
from train_jax.report.page import Font, Section, Text, write_page
from train_jax.report.run import Run, Score, read_run
from train_jax.run.errors import UserError


def write_report(
    workdirs: Sequence[Path | str],
    *,
    task: str,
    sections: Callable[[Run], list[Section]],
    main_score: Callable[[dict], Score],
    score_of: ScoreOf,
    fonts: Sequence[Font] = (),
    update: Callable[[dict], dict] | None = None,
) -> Path:
    """Writes WORKDIR/report.html; or for several runs comparison.html, into the folder that holds
    them all. Reads nothing but what runs leave there.

    Args:
      workdirs: at least one.
      task: of all of them, as `config.task` names it.
      sections: those that only this task has.
      main_score: of what eval.json holds.
      score_of: see compare.paired.
      fonts: for letters that a reader's device may lack.
      update: of config.json, see workdir.read_config.

    Returns:
      The path of the page.

    Raises:
      UserError: a workdir holds no run, a damaged one, or one of another task.
    """
    runs = [read_run(workdir, update) for workdir in workdirs]
    for run in runs:
        if run.config.get("task") != task:
            raise UserError(
                f"{run.workdir} is a run of task {run.config.get('task')!r}, and not of {task!r}: "
                "a report is of one task"
            )
    scores = [
        _told(run, lambda run: main_score(run.scores)) if run.scores else None for run in runs
    ]
    if len(runs) == 1:
        run, score = runs[0], scores[0]
        path = run.workdir / "report.html"
        title = f"{run.name}: {score.name} {score.text()}" if score else run.name
        own = _told(run, sections)
        if score and score.verdict():
            print(score.verdict())
            own[0] = own[0]._replace(parts=[Text(score.verdict()), *own[0].parts])
        about = report_run.what_was_run(run)
        rest = [report_run.model(run), report_run.timing(run), about]
        pages = [*own[:1], report_run.history(run), *own[1:], *rest]
    else:
        folders = [str(run.workdir.resolve()) for run in runs]
        if len(set(folders)) < len(folders):
            raise UserError(f"the same run twice in {', '.join(map(str, workdirs))}")
        parent = Path(os.path.commonpath(folders))
        runs = [
            run._replace(name=os.path.relpath(f, parent))
            for run, f in zip(runs, folders, strict=True)
        ]
        path = parent / "comparison.html"
        title = f"{len(runs)} runs in {parent.name}"
        pages = comparison(runs, scores, score_of)
    data = sorted({str(run.record["identity"].get("data")) for run in runs})
    write_page(path, title, f"task {task}, data: {', '.join(data)}", pages, fonts)
    return path


def _told(run: Run, function):
    """function(run); UserError if its files lack what the function reads."""
    try:
        return function(run)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.workdir}: eval.json or a file next to it is not what this version of the "
            f"program writes ({error!r}): run --mode=eval again"
        ) from error
