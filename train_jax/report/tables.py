"""The table of a model and the figure of a history, the same for every task."""

from pathlib import Path

import jax

from train_jax.report.figure import new_figure, save_figure, tick_whole_numbers
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


def write_model_table(workdir: Path, model, init):
    """Writes the table into model.txt, and prints a line of it."""
    table = model_table(model, init)
    write_atomically(workdir / "model.txt", table + "\n")
    parameters = table.splitlines()[-2].split()[-1]
    print(f"model: {type(model).__name__}, {parameters} parameters ({workdir}/model.txt)")


def draw_history(workdir: Path, history, best_epoch, data_name):
    """figures/history.png: accuracy, loss and learning rate by epoch, the best epoch marked."""
    figure = new_figure(13, 4)
    epochs = [row["epoch"] for row in history]
    panels = figure.subplots(1, 3)
    for axes, name in zip(panels, ("accuracy", "loss", "lr"), strict=True):
        axes.plot(epochs, [row[name] for row in history], ".-", label="train")
        if name == "lr":
            steady = len({row["lr"] for row in history}) == 1
            axes.set(ylim=(0, 1.2 * history[0]["lr"])) if steady else axes.set_yscale("log")
        elif f"val_{name}" in history[0]:
            axes.plot(epochs, [row[f"val_{name}"] for row in history], ".-", label="validation")
        axes.axvline(best_epoch, color="grey", ls="--", label=f"evaluated: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel="learning rate" if name == "lr" else name)
        tick_whole_numbers(axes.xaxis)
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.suptitle(f"{workdir.name} on {data_name}")
    save_figure(figure, workdir / "figures" / "history.png")
