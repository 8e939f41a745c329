"""What a report found, for the terminal: a line per section, and three sentences."""

from collections.abc import Iterator

from ablation.formats import MINUS, points
from ablation.grid_wording import factor_sentences
from ablation.look import wide_font
from ablation.overview import answers
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
            "{some} of {all} tested comparisons are significant after correction within their section.",
            some=study.significant, all=study.tested,
        )  # fmt: skip
        found.insert(2, told)
    return [sentence.replace(MINUS, "-") for sentence in found[:3]]


def _lines(study: Study) -> Iterator[str]:
    say = speaker(study.language)
    for item in study.comparisons:
        told = "; ".join(brief(row, say) for row in item.rows if row.effect is not None)
        found = say("against {reference}, in pp: {effects}", reference=item.section.reference, effects=told)
        yield f"{item.section.number} {item.name} {found if item.has_runs else _missing(study, item.name, say)}"
    for grid in study.crossings:
        found = " ".join(factor_sentences(grid, say)) if grid.has_runs else _missing(study, grid.name, say)
        yield f"{grid.number} {grid.name} {found}"
    for steps in study.ladders:
        findings = [(rung, rung.finding) for rung in steps.rungs]
        told = "; ".join(f"{rung.name} {points(one.interval.mean)} {rung.word}" for rung, one in findings if one)
        found = say("in pp: {effects}", effects=told) if steps.has_runs else _missing(study, steps.name, say)
        yield f"{steps.number} {steps.name} {found}"
    for grid in study.robustness:
        yield say("robustness: {found}", found=" ".join(factor_sentences(grid, say)))
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


def _missing(study: Study, name: str, say: Say) -> str:
    return say("not run yet: {command}", command=study.section_commands[name])
