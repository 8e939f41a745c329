"""What a report found, for the terminal: a line per section, and three sentences."""

from collections.abc import Iterator

from ablation.formats import MINUS, points
from ablation.grid_wording import factor_sentences
from ablation.look import wide_font
from ablation.overview import answers, not_run
from ablation.phrases import ENGLISH, Say, mark, speaker
from ablation.study import Study
from ablation.tables import brief
from ablation.typeset import wide

FONTS = "apt-get install fonts-noto-cjk"


def headlines(study: Study) -> Iterator[str]:
    """The lines, with the minus that every terminal can show."""
    return (line.replace(MINUS, "-") for line in _lines(study))


def results(study: Study) -> list[str]:
    """What the study says in at most three sentences: of the sections with the largest effects, those of their page."""
    say = speaker(study.language)
    found = [row.sentence for _, row in answers(study) if row.effect is not None and row.effect.n]
    if study.tested:
        told = say(
            "{some} of {all} tested {all:comparison|comparisons} {some:is|are} significant after correction within "
            "their section.",
            some=study.significant, all=study.tested,
        )  # fmt: skip
        found.insert(2, told)
    return [sentence.replace(MINUS, "-") for sentence in found[:3]]


def _lines(study: Study) -> Iterator[str]:
    say = speaker(study.language)
    for item in (one for one in study.comparisons if one.has_runs):
        told = "; ".join(brief(row, say) for row in item.rows if row.effect is not None)
        found = say("against {reference}, in pp: {effects}", reference=item.section.reference, effects=told)
        yield f"{item.section.number} {item.name} {found}"
    for grid in (one for one in study.crossings if one.has_runs):
        yield f"{grid.number} {grid.name} {' '.join(factor_sentences(grid, say))}"
    for steps in (one for one in study.ladders if one.has_runs):
        findings = [(rung, rung.finding) for rung in steps.rungs]
        told = "; ".join(f"{rung.name} {points(one.interval.mean)} {rung.word}" for rung, one in findings if one)
        yield f"{steps.number} {steps.name} {say('in pp: {effects}', effects=told)}"
    for grid in study.robustness:
        yield say("robustness: {found}", found=" ".join(factor_sentences(grid, say)))
    yield from _missing(study, say)
    for warning in study.warnings:
        yield say("warning: {warning}", warning=warning)
    boxes = any(map(wide, _names(study)))
    if (boxes or say is not ENGLISH) and wide_font() is None:
        phrase = mark(
            "PNG and PDF figures are in English, Chinese names boxes: no Chinese font is here (on Debian: {command})"
        )
        plain = mark("PNG and PDF figures are in English: no Chinese font is here (on Debian: {command})")
        yield say(phrase if boxes else plain, command=FONTS)


def _names(study: Study) -> Iterator[str]:
    for row in (row for item in study.comparisons for row in item.rows):
        yield row.level
        if row.finding and row.finding.images:
            yield from (one.name for one in row.finding.images.classes)


def _missing(study: Study, say: Say) -> Iterator[str]:
    """The sections that were not begun in one line, with the command of the first; the report has that of each."""
    if missing := not_run(study):
        yield say(
            "not run yet: {names}. The report has a command for each, as {command}",
            names=", ".join(one.name for one in missing), command=study.section_commands.get(missing[0].name, ""),
        )  # fmt: skip
