"""The table of a model and the figure of a history, the same for every task."""

from pathlib import Path

import jax

from train_jax.report.figure import explain_lines, new_figure, save_figure, tick_whole_numbers
from train_jax.run.files import write_atomically


def model_table(model, init) -> str:
    """The shape and number of parameters of each array, and the totals."""
    variables = jax.eval_shape(init, jax.random.key(0))
    lines = [f"{type(model).__name__:28s}{'shape':>20s}{'parameters':>14s}"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        name = "/".join(part.key for part in path)
        lines.append(f"{name:28s}{str(leaf.shape):>20s}{leaf.size:14,d}")
    totals = {name: sum(a.size for a in jax.tree.leaves(t)) for name, t in variables.items()}
    lines.append(f"{'trainable':48s}{totals['params']:14,d}")
    lines.append(f"{'batch statistics':48s}{totals.get('batch_stats', 0):14,d}")
    return "\n".join(lines)


def count_parameters(init) -> int:
    """Of the trainable ones."""
    params = jax.eval_shape(init, jax.random.key(0))["params"]
    return sum(a.size for a in jax.tree.leaves(params))


def write_model_table(workdir: Path, model, init):
    """Writes the table into model.txt, and prints a line of it."""
    write_atomically(workdir / "model.txt", model_table(model, init) + "\n")
    name, count = type(model).__name__, count_parameters(init)
    print(f"model: {name}, {count:,} parameters ({workdir}/model.txt)")


def draw_curve(axes, rows, name: str, marks, *, legend: bool) -> None:
    """A column of metrics.csv and its val_ by epoch; `marks` is {label: (epochs, color, ls)}."""
    epochs = [row["epoch"] for row in rows]
    style = ".-" if len(rows) < 40 else "-"
    axes.plot(epochs, [row[name] for row in rows], style, label="train", color="C0")
    if f"val_{name}" in rows[0]:
        axes.plot(
            epochs, [row[f"val_{name}"] for row in rows], style, label="validation", color="C1"
        )
    for label, (places, color, line) in marks.items():
        for number, epoch in enumerate(places):
            axes.axvline(epoch, color=color, ls=line, lw=1.2, label=label if not number else None)
    if name == "lr":
        steady = len({row[name] for row in rows}) == 1
        axes.set(ylim=(0, 1.2 * rows[0][name])) if steady else axes.set_yscale("log")
    axes.set(xlabel="epoch", title="learning rate" if name == "lr" else name.replace("_", " "))
    tick_whole_numbers(axes.xaxis)
    axes.grid(alpha=0.3)
    if legend:  # once, where several curves have the same
        explain_lines(axes)


def draw_history(workdir: Path, history, best_epoch, data_name):
    """figures/history.png: accuracy, loss and learning rate by epoch, the best epoch marked."""
    figure = new_figure(13, 4)
    marks = {f"evaluated: epoch {best_epoch}": ([best_epoch], "C2", "--")}
    for axes, name in zip(figure.subplots(1, 3), ("accuracy", "loss", "lr"), strict=True):
        draw_curve(axes, history, name, marks, legend=name == "accuracy")
    figure.suptitle(f"{workdir.name} on {data_name}")
    save_figure(figure, workdir / "figures" / "history.png")
