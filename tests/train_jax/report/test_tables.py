"""The table of a model and the figure of a history say what they were given."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from train_jax.report import tables as report


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(5)(x.reshape(len(x), -1))


def test_the_number_of_parameters():
    init = lambda key: Net().init(key, jnp.zeros((1, 12, 12, 3)))  # noqa: E731
    assert report.count_parameters(init) == 54 + 2 + 2 * 2 + 12 * 12 * 2 * 5 + 5


def test_model_table_names_every_array_and_both_totals():
    image = jnp.zeros((1, 12, 12, 3))
    first, *rows = report.model_table(Net(), lambda key: Net().init(key, image)).splitlines()
    assert first.split() == ["Net", "shape", "parameters"]
    table = {row.rsplit("  ", 1)[0].strip(): row.split()[-1] for row in rows}
    dense = 12 * 12 * 2 * 5
    assert {name.split("  ")[0]: number for name, number in table.items()} == {
        "Conv_0/bias": "2", "Conv_0/kernel": "54", "BatchNorm_0/bias": "2",
        "BatchNorm_0/scale": "2", "Dense_0/bias": "5", "Dense_0/kernel": f"{dense:,}",
        "trainable": f"{2 + 54 + 4 + 5 + dense:,}", "batch statistics": "4",
    }  # fmt: skip
    assert "(3, 3, 3, 2)" in next(row for row in rows if row.startswith("Conv_0/kernel"))


HISTORY = [
    {
        "epoch": e, "loss": 2 / e, "accuracy": 0.1 * e, "val_loss": 3 / e, "val_accuracy": 0.05 * e,
        "lr": 0.1**e, "seconds": 1.0, "images/s": 2.0,
    }
    for e in (1, 2, 3)
]  # fmt: skip


def test_history_shows_both_curves_and_the_best_epoch(saved, tmp_path):
    report.draw_history(tmp_path / "seed1", HISTORY, 2, "drawn_faces")
    figure = saved["history.png"]
    title = figure.get_suptitle()
    assert "seed1" in title and "drawn_faces" in title
    axes = {a.get_title(): a for a in figure.axes}
    for name in ("accuracy", "loss"):
        train, valid, best = axes[name].lines
        assert (train.get_label(), valid.get_label()) == ("train", "validation")
        np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(train.get_ydata(), [row[name] for row in HISTORY])
        np.testing.assert_allclose(valid.get_ydata(), [row[f"val_{name}"] for row in HISTORY])
        assert set(best.get_xdata()) == {2}
    np.testing.assert_allclose(axes["learning rate"].lines[0].get_ydata(), [0.1, 0.01, 0.001])
    assert any("2" in text.get_text() for text in figure.axes[0].get_legend().get_texts())


def test_the_figure_is_written_where_it_belongs(tmp_path):
    report.draw_history(tmp_path, HISTORY[:1], 1, "fer2013")  # one epoch, no line to draw
    assert (tmp_path / "figures" / "history.png").read_bytes().startswith(b"\x89PNG")
