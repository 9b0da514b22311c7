"""The config of a run that was trained before: `launch.py --workdir=RUN` without --config.

python launch.py --workdir=runs/fer_best --mode=eval --config.eval.tta=flip
"""

import json
from pathlib import Path

from configs import fer_base, seq_base
from seq_jax.old_runs import updated

BASES = {"fer": fer_base, "seq": seq_base}


def get_config(workdir: str):
    """What config.json in `workdir` says; fields that it lacks, being older, are those of the base
    config, and fields that are no more are left out."""
    path = Path(workdir).expanduser() / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record = (updated(record) if record["config"]["task"] == "seq" else record)["config"]
    config = BASES[record["task"]].get_config()
    with config.unlocked():
        config.model = {}  # its fields are those of the class that model.name says
        for section, fields in _tuples(record).items():
            if isinstance(fields, dict):
                known = fields if section == "model" else config.get(section, {})
                for name in fields.keys() & known.keys():
                    config[section][name] = fields[name]
    return config


def _tuples(value):
    """Lists of JSON as tuples, at every depth."""
    if isinstance(value, dict):
        return {name: _tuples(v) for name, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
