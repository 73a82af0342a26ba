"""The parts of README.md and docs/ that quote results, between `<!-- name` and `<!-- /name -->`.

    python -m tests.quoted      # write them again, after `make run` or `make calibrate`

tests/test_readme.py demands that the committed documents quote the committed results.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from commands import calibrate, planted
from facestudy.alterations.settings import label
from facestudy.evaluation.intervals import holm
from facestudy.report.markdown import _p_text, hypotheses_section

Reader = Callable[[str], str]


def results(read: Reader) -> str:
    """The tables of accuracy, AUC and their differences, one heading level lower."""
    page = read("metrics/results.md")
    tables = page[page.index("## Accuracy") : page.index("Verdicts, by p Holm")].rstrip()
    return re.sub(r"^## ", "### ", tables, flags=re.MULTILINE)


def subset(read: Reader) -> str:
    """What the results are about: groups, videos, faces, trainings; how far one gets without seeing the face."""
    lines = read("metrics/results.md").splitlines()
    return "\n".join(
        next(line for line in lines if line.startswith(start)) for start in ("Test subset", "Without seeing the face")
    )


def shortcuts(read: Reader, path: str = "metrics/shortcuts.csv") -> str:
    """A shortcut audit, by default that of the sample, as a Markdown table."""
    lines = ["| cues | AUC | its interval |", "|---|---|---|"]
    for row in _table(read, path).query("measure == 'auc'").to_dict("records"):
        varies = isinstance(row["cues"], str)
        told = f"{row['value']:.3f} | {row['low']:.3f} to {row['high']:.3f}" if varies else "constant |"
        lines.append(f"| `{row['control']}` | {told} |")
    return "\n".join(lines)


def calibration(read: Reader) -> str:
    """What `make calibrate` prints."""
    return f"```\n{calibrate.summary(_table(read, 'metrics/calibration.csv'))}\n```"


def battery(read: Reader, start: str = "metrics/reasons/") -> str:
    """The verdicts of `make reasons`, or of another study with its variants, and the contrasts behind them."""
    contrasts, hypotheses = (
        pd.read_csv(io.StringIO(read(f"{start}{name}.csv")), dtype=str, keep_default_na=False)
        for name in ("contrasts", "hypotheses")
    )
    return "\n".join(hypotheses_section(contrasts, hypotheses, "95 %")[4:]).strip()


def areas(read: Reader, path: str) -> str:
    """The AUC of each variant, from a table of metrics/robustness.csv."""
    lines = ["| variant | AUC | its interval |", "|---|---|---|"]
    for row in _table(read, path).query("kind == 'none'").to_dict("records"):
        lines.append(f"| `{row['variant']}` | {row['auc']:.3f} | {row['auc_low']:.3f} to {row['auc_high']:.3f} |")
    return "\n".join(lines)


def regions(read: Reader) -> str:
    """The AUC of each region, and p of its difference from the whole face, also corrected over the regions."""
    compared = _table(read, f"{FINDINGS}regions_comparison.csv").query("metric == 'auc'")
    compared = compared.assign(corrected=holm(compared["p"])).set_index("variant")
    header, rule, *rows = areas(read, f"{FINDINGS}regions_robustness.csv").splitlines()
    lines = [f"{header} p against `full` | p Holm |", f"{rule}---|---|"]
    for row in rows:
        found = compared[compared.index == row.split("`")[1]]  # none for `full` itself
        lines.append(f"{row} {' | '.join(_p_text(p) for p in found[['p', 'corrected']].to_numpy().ravel()) or '|'} |")
    return "\n".join(lines)


def attribution(read: Reader) -> str:
    """What occlusion shows on `full` and `eyes_lower`, of the attribution of `make reasons`."""
    table = _table(read, "metrics/reasons/attribution.csv").query("method == 'occlusion'").set_index("variant")
    lines = ["| variant | region | trained | random weights | p Holm | finding |", "|---|---|---|---|---|---|"]
    for row in table.loc[["full", "eyes_lower"]].reset_index().itertuples():
        trained = f"{row.value:.2f} [{row.value_low:.2f}, {row.value_high:.2f}]"
        ends = f"{row.random:.2f} | {_p_text(row.p_holm)} | {row.finding}"
        lines.append(f"| `{row.variant}` | {row.region} | {trained} | {ends} |")
    return "\n".join(lines)


def composites(read: Reader, path: str) -> str:
    """What composites change of the AUC of each variant that they change, from a table of metrics/robustness.csv."""
    table = _table(read, path).astype({"severity": str})
    found = table[table["kind"] == "composite"]
    plain = table[table["kind"] == "none"].set_index("variant")["auc"]
    lines = ["| variant | AUC | change with `other_frame` | change with `other_person` |", "|---|---|---|---|"]
    for variant, rows in found.groupby("variant", sort=False):
        of = rows.set_index("severity")
        cells = [
            f"{of.loc[donor, 'change']:+.3f} [{of.loc[donor, 'change_low']:+.3f}, {of.loc[donor, 'change_high']:+.3f}]"
            for donor in ("other_frame", "other_person")
        ]
        if of["change"].any():
            lines.append(f"| `{variant}` | {plain[variant]:.3f} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def severities(read: Reader) -> str:
    """The AUC of each model and variant on altered faces; a star where the interval of the change excludes 0."""
    table = pd.read_csv(io.StringIO(read(f"{FINDINGS}robustness.csv")), dtype=str, keep_default_na=False)
    cells = list(dict.fromkeys(zip(table["model"], table["variant"], strict=True)))
    rows = {(row.kind, row.severity, row.model, row.variant): row for row in table.itertuples()}
    lines = [" | ".join(["| altered", *(f"{model}, `{variant}`" for model, variant in cells)]) + " |"]
    lines.append("|---" * (1 + len(cells)) + "|")
    for kind, severity in dict.fromkeys((kind, severity) for kind, severity, *_ in rows):
        found = [rows[kind, severity, *cell] for cell in cells]
        changed = [bool(row.change_low) and float(row.change_low) * float(row.change_high) > 0 for row in found]
        written = [f"{float(row.auc):.3f}{' *' * star}" for row, star in zip(found, changed, strict=True)]
        lines.append(f"| {' | '.join([label(kind, severity), *written])} |")
    return "\n".join(lines)


def places(read: Reader) -> str:
    """What `make calibrate` finds for each place of the artefact, and in many small studies."""
    table = _table(read, "metrics/calibration.csv")
    return f"{calibrate.places(table, _table(read, 'metrics/known_verdicts.csv'))}\n{calibrate.repeated(table)}"


def found(read: Reader) -> str:
    """What `make calibrate` finds of what it plants."""
    table = pd.read_csv(io.StringIO(read("metrics/planted.csv")), keep_default_na=False)
    return planted.summary(table)


def sources(read: Reader) -> str:
    """How much the difference varies with what is drawn again."""
    return calibrate.sources(_table(read, "metrics/calibration.csv"))


def faults(read: Reader) -> str:
    """What `make faults` prints."""
    return f"```\n{_table(read, 'metrics/faults.csv').to_string(index=False)}\n```"


def _table(read: Reader, path: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(read(path)))


FINDINGS = "metrics/findings/"
"""What studies found that are not run by `make run`, `make reasons` or `make calibrate`."""
QUOTES: tuple[tuple[str, str, Callable[[Reader], str]], ...] = (
    ("README.md", "subset", subset),
    ("README.md", "results", results),
    ("docs/sample.md", "calibration", calibration),
    ("README.md", "reasons", battery),
    ("README.md", "places", places),
    ("docs/protocol.md", "planted", found),
    ("docs/statistics.md", "sources", sources),
    ("docs/sample.md", "shortcuts", shortcuts),
    ("docs/reproducibility.md", "faults", faults),
    ("docs/sample.md", "regions", regions),
    ("docs/attribution.md", "attribution", attribution),
    ("docs/robustness.md", "composites", partial(composites, path="metrics/reasons/robustness.csv")),
    ("docs/robustness.md", "severities", severities),
    ("docs/findings.md", "lfw", partial(battery, start=f"{FINDINGS}lfw_")),
    ("docs/findings.md", "pseudo", partial(battery, start=f"{FINDINGS}pseudo_")),
    *(
        ("docs/findings.md", f"{study}_shortcuts", partial(shortcuts, path=f"{FINDINGS}{study}_shortcuts.csv"))
        for study in ("lfw", "pseudo", "clips", "clips_splits")
    ),
    *(
        ("docs/findings.md", name, partial(areas, path=f"{FINDINGS}{study}_robustness.csv"))
        for name, study in (
            ("lfw_areas", "lfw"),
            ("lfw_equal_areas", "lfw_equal"),
            ("pseudo_areas", "pseudo"),
            ("leak_clips", "leak_clips"),
            ("leak", "leak"),
        )
    ),
)
"""File, name of the part, what it must say."""


def pattern(name: str) -> re.Pattern[str]:
    """Matches a part: its opening comment, its text, its closing comment."""
    return re.compile(rf"(<!-- {name}[: ].*?-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def main() -> None:
    def read(path: str) -> str:
        return Path(path).read_text(encoding="utf-8")

    for file, name, quote in QUOTES:
        text = pattern(name).sub(lambda match: f"{match[1]}{quote(read).strip()}\n{match[3]}", read(file))  # noqa: B023
        Path(file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
