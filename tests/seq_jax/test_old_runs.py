"""Runs from before the fields of a config had names without a language in them."""

import json
import shutil

import jax
import pytest

from configs import seq_base
from seq_jax import modes, old_runs
from train_jax.run.errors import UserError
from train_jax.run.workdir import read_config

OLD = {new: old for old, new in (old_runs.DATA | old_runs.IDENTITY).items()}


def as_before(record):
    """The record as it was written then."""
    data = record["config"]["data"]
    data = {OLD.get(name, name): value for name, value in data.items()}
    data["english_letters_only"] = bool(data["english_letters_only"])
    data["kannada_script"] = bool(data["kannada_script"])
    del data["bpe_dropout"]
    config = record["config"] | {"data": data, "model": dict(record["config"]["model"])}
    identity = {OLD.get(name, name): value for name, value in record["identity"].items()}
    return record | {"config": config, "identity": identity}


def test_every_old_name_is_a_field_of_today():
    assert set(old_runs.DATA.values()) <= set(seq_base.get_config().data)
    assert not set(old_runs.DATA) & set(seq_base.get_config().data)


@pytest.mark.parametrize("script", ["Kannada", ""])
def test_an_old_record_means_the_same(script):
    config = seq_base.get_config()
    config.data.target_script = script
    config.data.max_source_words = 7
    record = {"config": config.to_dict(), "identity": {"source_sha256": "a", "tokens": 7}}
    before = as_before(record)
    del before["config"]["model"]["bfloat16"]
    assert before != record and before["config"]["data"]["kannada_script"] is bool(script)
    assert old_runs.updated(before) == record == old_runs.updated(record)


@pytest.mark.parametrize("config", [{}, {"data": None, "model": 1}, {"data": {"bpe_dropout": 0.1}}])
def test_what_is_no_such_record_stays(config):
    record = {"config": config, "identity": {"tokens": 7}}
    assert old_runs.updated(record) == record


def test_an_old_run_translates_continues_and_is_reported(tmp_path, capsys):
    config = seq_base.get_config()
    config.model.units = config.model.dense = config.model.embedding = 4
    config.train.epochs = 1
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("train_jax.metrics.RESAMPLES", 20)
        modes.train(config, tmp_path / "run")
        old = shutil.copytree(tmp_path / "run", tmp_path / "old")
        record = read_config(old)
        (old / "config.json").write_text(json.dumps(as_before(record)))
        assert "kannada_top_k" in (old / "config.json").read_text()
        capsys.readouterr()
        assert modes.translate(config, old, "i go home") == 0
        said = capsys.readouterr().out
        assert modes.translate(config, tmp_path / "run", "i go home") == 0
        assert capsys.readouterr().out == said
        modes.train(config, old)  # has all its epochs
        modes.evaluate(config, old)
        config.data.target_top_k = 600
        with pytest.raises(UserError, match="config.data.target_top_k: 700 -> 600"):
            modes.evaluate(config, old)
    page = modes.write_report([old]).read_text("utf-8")
    assert "max_target_words" not in page.split("What was run")[1].split("the whole config")[0]
