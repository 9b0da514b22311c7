"""fit(): the one module that orchestrates side effects.

Data flows: order of the epoch -> compiled steps -> validation -> plateau and early stopping ->
checkpoint -> metrics.csv. Every choice is a function of (seed, epoch, step), so that a run that was
interrupted anywhere and resumed ends with the same bits as one that was not.
"""

import math
import time
from pathlib import Path

import jax
import numpy as np

from train_jax import early_stop, parallel
from train_jax import metrics as metrics_lib
from train_jax.epoch import (
    default_steps_per_call,
    epoch_order,
    evaluate,
    size_of,
    steps_of,
    train_epoch,
)
from train_jax.plateau import scale_at
from train_jax.program import build
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted, watch_signals
from train_jax.run.log import Log
from train_jax.run.saver import Saver
from train_jax.settings import Settings
from train_jax.task import Task


def fit(task: Task, settings: Settings, *, workdir: Path | str) -> list[dict]:
    """Trains until `settings.epochs` or early stopping; continues what `workdir` holds.

    Args:
      task: what to train, on what.
      settings: how.
      workdir: a path; holds checkpoints/, metrics.csv and tb/ afterwards.

    Returns:
      One row per epoch: epoch, train metrics, val_ metrics, lr, seconds, units/s.

    Raises:
      UserError: a setting does not fit, or a loss is not finite; or there is nothing to validate
        on, and a monitor that is used needs it. (Without `task.valid` rows have no val_ metrics.)
      Interrupted: after SIGINT or SIGTERM; all is saved.
    """
    workdir = Path(workdir)
    epochs, batch_size, checkpoint = settings.epochs, settings.batch_size, settings.checkpoint
    mesh = parallel.make_mesh(settings.devices)
    _check_divisible(mesh.size, batch_size=batch_size, eval_batch_size=settings.eval_batch_size)
    size = size_of(task.train)
    length = task.train.get("length")
    steps = steps_of(size, batch_size, length)
    steps_per_call = settings.steps_per_call or default_steps_per_call(
        steps, platform=parallel.platform_of(mesh), on_cpu=task.steps_per_call_on_cpu
    )
    data, valid = (parallel.shard_rows(split, mesh) for split in (task.train, task.valid))
    try:
        checkpoints = Checkpoints(
            workdir / "checkpoints", mode=checkpoint.mode, select=checkpoint.select
        )
        program, state = build(task, mesh, settings, steps=steps)
    except ValueError as error:
        raise UserError(f"config: {error}") from error
    _check_monitors(settings, state.metrics, task.scores, validates=size_of(task.valid) > 0)

    state, history, elapsed = _resume(checkpoints, state, mesh)
    stopped = early_stop.resume(state.early_stop, settings.early_stop)
    state = state.replace(early_stop=stopped)
    saver = Saver(checkpoints, min_seconds=checkpoint.min_seconds)
    decay = settings.ema_decay
    if decay and epochs * steps < 3 / (1 - decay):
        print(
            f"{epochs * steps} steps are few for train.ema_decay={decay}: the average of the "
            f"weights, which is evaluated, looks back {1 / (1 - decay):.0f} steps"
        )
    log = Log(workdir, history=history, epochs=epochs, unit=task.unit)
    clock = Clock(elapsed)

    with watch_signals() as interrupt:

        def after_call(state, done, validated=None):
            log.progress(len(log.rows) + 1, done, steps, clock.seconds(), batch_size, validated)
            signum = parallel.agree(interrupt.signum)
            if signum:
                _save_and_leave(saver, state, log.rows, clock, signum, steps, workdir)

        try:
            log.compiling()
            while len(log.rows) < epochs and not state.early_stop.stop:
                epoch = len(log.rows)
                index, mask = epoch_order(
                    size, batch_size, seed=settings.seed, epoch=epoch, length=length,
                    steps_per_call=steps_per_call,
                )  # fmt: skip
                done = int(state.step) - epoch * steps
                if task.train_at:
                    data = parallel.shard_rows(task.train_at(epoch), mesh)
                state = train_epoch(
                    program.train_step_at(epoch), state, data, index, mask, done=done,
                    steps_per_call=steps_per_call, after_call=after_call, length=length,
                )  # fmt: skip
                row = {"epoch": epoch + 1} | metrics_lib.compute(state.metrics)
                _check_finite(state, row, epoch, steps, saver)
                train_seconds = clock.seconds()
                variables = state.eval_variables()
                sums = evaluate(
                    program.eval_step, variables, valid, size_of(task.valid),
                    settings.eval_batch_size, length=task.valid.get("length"),
                    after_call=lambda done: after_call(state, steps, done),  # noqa: B023
                )  # fmt: skip
                row |= {f"val_{k}": v for k, v in metrics_lib.compute(sums).items()}
                row |= {f"val_{k}": score(variables) for k, score in task.scores.items()}
                _check_finite(state, row, epoch, steps, saver)
                learning_rate = program.learning_rate(int(state.step) - 1)
                scale = scale_at(state.plateau, learning_rate, settings.plateau)
                row["lr"] = float(learning_rate * np.asarray(scale))
                state = program.epoch_end(
                    state,
                    np.float32(row.get(settings.plateau.monitor, math.nan)),
                    np.float32(row.get(settings.early_stop.monitor, math.nan)),
                    np.int32(epoch),
                )
                row["seconds"] = clock.restart()
                row[f"{task.unit}/s"] = size / train_seconds
                saver.epoch(
                    _label(state, epoch + 1),
                    state,
                    metric=row.get(checkpoint.monitor, math.nan),
                    record={"history": [*log.rows, row], "elapsed": 0.0},
                    last=epoch + 1 == epochs or bool(state.early_stop.stop),
                )
                log.epoch(row)
            saver.wait()
            if state.early_stop.stop:
                print(
                    f"stopped early: no better {settings.early_stop.monitor} for "
                    f"{int(state.early_stop.wait)} epochs"
                )
            signum = parallel.agree(interrupt.signum)
            if signum:
                raise Interrupted(
                    signum,
                    f"interrupted after the last epoch; all is saved in {workdir}. For the scores, "
                    "run the same command again.",
                )
        finally:
            saver.close()
            log.close()
    return log.rows


class Clock:
    """Seconds of the epoch in progress, including what an interrupted run spent on it."""

    def __init__(self, elapsed):
        self._start = time.perf_counter() - elapsed

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def restart(self) -> float:
        """The seconds until now; the next epoch begins."""
        seconds = self.seconds()
        self._start += seconds
        return seconds


def _resume(checkpoints, state, mesh):
    """(state, history, seconds spent on the epoch in progress) of the newest whole checkpoint.

    Without one: `state`, nothing and 0. In both cases the state is on all devices of the mesh.
    """
    with parallel.main_first():  # it moves damaged ones away
        saved = checkpoints.whole()
    if not saved:
        return parallel.replicate(state, mesh), [], 0.0
    record = saved[-1].record
    state = checkpoints.load(saved[-1], like=state)
    state = parallel.replicate(state, mesh)
    print(f"continuing after epoch {len(record['history'])}, step {int(state.step)}", flush=True)
    return state, record["history"], record["elapsed"]


def _save_and_leave(saver, state, history, clock, signum, steps, workdir):
    _check_finite(state, {}, len(history), steps, saver)
    _check_state(state, len(history), steps, saver)
    record = {"history": history, "elapsed": clock.seconds()}
    saver.now(_label(state, len(history)), state, record=record)
    raise Interrupted(
        signum,
        f"interrupted in epoch {len(history) + 1}, after step {int(state.step)}; all is saved in "
        f"{workdir}. To continue, run the same command again.",
    )


def _label(state, epochs_done):
    """A number that grows with time and differs between the last step and the end of an epoch."""
    return int(state.step) + epochs_done


def _check_finite(state, row, epoch, steps, saver):
    """Raises UserError if a loss of this epoch is NaN or infinite."""
    if state.bad_step >= 0:
        raise UserError(
            f"the training loss is {float(state.bad_loss)} in epoch {epoch + 1}, step "
            f"{int(state.bad_step) - epoch * steps + 1} of {steps}. {_advice(saver)}"
        )
    bad = {k: v for k, v in row.items() if not math.isfinite(v)}
    if bad:
        raise UserError(f"not finite after epoch {epoch + 1}: {bad}. {_advice(saver)}")


def _check_state(state, epoch, steps, saver):
    """Raises UserError if what is about to be saved has become NaN or infinite in the last step,
    whose loss was that of the step before."""
    if not all(np.isfinite(a).all() for a in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(
            f"the parameters are not finite in epoch {epoch + 1}, after step "
            f"{int(state.step) - epoch * steps} of {steps}. {_advice(saver)}"
        )


def _advice(saver):
    saver.wait()
    labels = saver.checkpoints.labels()
    if labels:
        newest = saver.checkpoints.folder / str(labels[-1])
        saved = f"The last good checkpoint is {newest}; nothing after it is saved."
    else:
        saved = "Nothing is saved yet."
    advice = "Lower schedule.learning_rate, set optimizer.clip_norm, or look for NaN in the data."
    return f"{saved} {advice}"


def _check_divisible(devices, **sizes):
    for name, size in sizes.items():
        if size % devices:
            raise UserError(
                f"config: {name} must be a multiple of the {devices} devices that share it, got "
                f"{size}; --config.distributed.devices=N takes fewer"
            )


def _check_monitors(settings, metrics, scores, *, validates):
    """UserError unless every monitor is one that there is. Without validation data a monitor that
    is not used may be any."""
    of_valid = [f"val_{name}" for name in (*metrics, *scores)] if validates else []
    choices = [*metrics, *of_valid]
    plateau, early_stop, checkpoint = settings.plateau, settings.early_stop, settings.checkpoint
    for section, used in (
        (plateau, plateau.enabled),
        (early_stop, early_stop.enabled),
        (checkpoint, checkpoint.select == "best"),
    ):
        if (used or validates) and section.monitor not in choices:
            why = "" if validates else " (there is no validation data)"
            raise UserError(
                f"config: monitor must be one of {choices}{why}, got {section.monitor!r}"
            )
