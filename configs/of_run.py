"""The config of a run that was trained before, or of what one exported: for a command that names
them, and no --config.

python launch.py --workdir=runs/fer_best --mode=eval --config.eval.tta=flip
python launch.py --weights=weights/seq_best --mode=eval --inputs=pairs.tsv
"""

import json
from pathlib import Path

from configs import fer_base, seq_base
from seq_jax.old_runs import updated

BASES = {"fer": fer_base, "seq": seq_base}
RECORDS = "config.json", "model.json"


def get_config(folder: str):
    """What config.json of a run says, or model.json of exported weights.

    Fields that it lacks, being older, are those of the base config, and fields that are no more are
    left out. Of weights, which travel, data.path is too. OSError if it says something else.
    """
    place = Path(folder).expanduser()
    path = next(place / name for name in RECORDS if (place / name).exists())
    try:
        record = {"identity": {}} | json.loads(path.read_bytes())
        record = (updated(record) if record["config"]["task"] == "seq" else record)["config"]
        if path.name == "model.json":
            record["data"].pop("path", None)
        return _config_of(_tuples(record))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise OSError(f"{path} is not a config that a run wrote: {error!r:.300}") from None


def _config_of(record: dict):
    config = BASES[record["task"]].get_config()
    with config.unlocked():
        config.model = {}  # its fields are those of the class that model.name says
        for section, fields in record.items():
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
