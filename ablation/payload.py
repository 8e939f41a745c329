"""What the page's script computes with: every run's accuracies and curves, and the words it says, as one JSON value.

Rows are known by short ids of our own, so no name from a config is ever part of the script's logic.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from scipy.stats import t as student_t

from ablation.comparison import Comparison, Row
from ablation.formats import strict
from ablation.identity import Variant
from ablation.look import Style
from ablation.phrases import mark, speaker
from ablation.study import Study
from ablation.verdict import ALPHA, Verdict

CURVE_COLUMNS = ("train_loss", "val_loss", "train_acc", "val_acc")
MOST_NUMBERS = 200_000  # of curves in a page; with more, hovering shows no values
_WORDS = {
    "recomputed": mark("recomputed, no verdict"),
    "note": mark(
        "Recomputed in this page: {metric}, against {reference}. Captions, sentences, caveats and what is folded are "
        "still those of the report."
    ),
    "against": mark("against {reference}"),
    "declared": mark("the declared control"),
    "seed": mark("seed"),
    "epoch": mark("epoch"),
    "mean": mark("mean"),
    "copy": mark("copy as"),
    "copied": mark("copied"),
    "toggle": mark("show or hide in the figures"),
    "sort": mark("sort by this column"),
    "rows": mark("rows shown"),
    "reference": mark("reference"),
}


def row_ids(study: Study) -> dict[tuple[str, str], str]:
    """An id of every row, by section and level."""
    return {(item.name, row.level): f"r{index}" for index, (item, row) in enumerate(_rows(study))}


def _rows(study: Study) -> list[tuple[Comparison, Row]]:
    return [(item, row) for item in study.comparisons for row in item.rows]


def payload(study: Study, styles: Mapping[tuple[str, str], Style], curves: pd.DataFrame) -> str:
    """The JSON, with no `<` in it, so that it cannot end the element that holds it.

    Args:    curves: the table of gather.py of the study's runs.
    """
    say, ids, rows = speaker(study.language), row_ids(study), _rows(study)
    by_variant = {_key(row.variant): ids[item.name, row.level] for item, row in reversed(rows)}
    most = max([len(row.values) for _, row in rows] + [2])
    content = {
        "metric": study.metric.name,
        "delta": study.delta,
        "alpha": ALPHA,
        "t95": [round(float(student_t.ppf(0.975, n - 1)), 6) for n in range(2, most + 1)],
        "words": {key: say(text) for key, text in _WORDS.items()},
        "verdicts": {verdict.name: say(verdict.value) for verdict in Verdict},
        "rows": {
            ids[item.name, row.level]: _row(item, row, styles[item.section.factor, row.level].key, by_variant)
            for item, row in rows
        },
        "curves": _curves(curves, (run.run_id for _, row in rows for run in row.seeds)),
    }
    return json.dumps(strict(content), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _key(variant: Variant) -> tuple[str, ...]:
    return tuple(variant.values())


def _row(item: Comparison, row: Row, style: str, by_variant: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "section": item.name,
        "level": row.level,
        "key": style,
        "values": {name: {str(s): round(v, 6) for s, v in values.items()} for name, values in row.metrics.items()},
        "runs": {str(run.seed): run.run_id for run in row.seeds if run.run_id},
    }
    finding = row.finding
    if finding is None or row.control is None:
        return found
    one, other = finding.interval, finding.interval90
    return found | {
        "control": by_variant.get(_key(row.control)),
        "pairs": list(map(str, finding.seeds)),
        "p": finding.p_holm,
        "wide": [finding.simultaneous.low, finding.simultaneous.high],
        "bounds": [one.low, one.high, other.low, other.high],
        "ended": finding.n_ended,
        "failed": finding.n_failed,
        "word": row.word,
        "verdict": finding.verdict.name,
    }


def _curves(table: pd.DataFrame, wanted: Iterable[str]) -> dict[str, dict[str, list[float | None]]]:
    """Columns of each run's epochs with five significant digits; empty where they would make the page too large."""
    known = table[table["run_id"].isin(set(wanted) - {""})]
    if known.size and len(known) * len(CURVE_COLUMNS) > MOST_NUMBERS:
        return {}
    return {
        str(run_id): {name: [_short(value) for value in group[name]] for name in CURVE_COLUMNS}
        for run_id, group in known.sort_values(["run_id", "epoch"]).groupby("run_id")
    }


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
