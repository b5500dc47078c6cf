"""Write grades: a table for the teacher, a page of feedback for each student.

Takes `grade.Grade`s; gives `grades.csv` and self-contained pages of HTML.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, write_file
from edgetpu_lib.teaching.exercise.feedback import Feedback
from edgetpu_lib.teaching.grading.grade import GRADED, Grade
from edgetpu_lib.teaching.grading.key import Key
from edgetpu_lib.teaching.grading.process import FAILED, Limits

TABLE = "grades.csv"
PAGES = "feedback"
# A spreadsheet takes what starts like this for a formula.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto;
  padding: 0 1rem; color: #1d1d1f; background: #fff; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-top: 1px solid #ccc; }
th { overflow-wrap: normal; }
td.points { white-space: nowrap; text-align: right; }
td dl { margin: 0; } dt { float: left; clear: left; width: 5.5rem; color: #666; }
dd { margin: 0 0 0 5.5rem; }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .8rem; }
.good { color: #17692e; } .bad { color: #a3220f; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page_name(name: str) -> str:
    """Return a short, plain file name for a submission of any name."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", name.removesuffix(".ipynb")).strip("_-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[:60] or 'submission'}-{digest[:8]}.html"


def columns(key: Key) -> list[str]:
    """Return the names of the table's columns."""
    return [
        "submission",
        *(check.task for check in key.checks),
        "total",
        "of",
        *(hand.task for hand in key.by_hand),
        "status",
        "page",
        "limits",
        "digest",
    ]


def row(grade: Grade, limits: Limits, key: Key) -> dict[str, str]:
    """Return a submission's row; columns that are graded by hand are empty.

    So are all points, and the page, if the grader failed.
    """
    points = {each.task: f"{each.points:g}" for each in grade.feedback}
    page = f"{PAGES}/{page_name(grade.name)}"
    return {
        "submission": cell(grade.name),
        **(points | {"total": f"{grade.points:g}"} if grade.is_grade else {}),
        "of": f"{key.max_points:g}",
        "status": cell(grade.status),
        "page": page if grade.is_grade else "",
        "limits": str(limits),
        "digest": grade.digest,
    }


def cell(text: str) -> str:
    """Return a text for a spreadsheet, which does not take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


def is_done(
    known: Mapping[str, str] | None, digest: str, limits: Limits, folder: Path
) -> bool:
    """Return whether a row of an earlier run is still valid.

    Args:
        known: the row, or `None`.
        digest: of the submission and the key, as they are now.
        limits: of this run; a failure under other limits is graded again.
        folder: of the results.
    """
    if known is None or known.get("digest") != digest:
        return False
    status = known.get("status", FAILED)
    if status != GRADED and known.get("limits") != str(limits):
        return False
    return not status.startswith(FAILED) and (folder / known.get("page", "?")).is_file()


def read_table(folder: str | Path) -> dict[str, dict[str, str]]:
    """Return the rows of an earlier run by submission.

    Raises:
        InputError: the table cannot be read.
    """
    path = Path(folder) / TABLE
    try:
        text = path.read_text("utf-8-sig")
        # A spreadsheet may have saved it with semicolons.
        first = text.partition("\n")[0]
        delimiter = ";" if first.count(";") > first.count(",") else ","
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
        return {each["submission"]: each for each in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path} is not a table of grades ({error}); move it away, or choose"
            " another --output"
        ) from error


def write_table(folder: str | Path, key: Key, rows: Iterable[dict[str, str]]) -> Path:
    """Write all rows, sorted by submission, whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, columns(key), restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda each: each["submission"]))
    # The byte order mark tells spreadsheets that this is UTF-8.
    return write_file(Path(folder) / TABLE, stream.getvalue().encode("utf-8-sig"))


def write_page(folder: str | Path, grade: Grade, key: Key) -> Path:
    """Write a submission's feedback as a page of HTML, in which all text is escaped.

    Raises:
        InputError: the folder cannot be written.
    """
    title = html.escape(grade.name)
    parts = [
        f"<h1>{title}</h1>",
        f"<p><strong>{grade.points:g} of {key.max_points:g} points</strong></p>",
    ]
    if grade.status != GRADED:
        parts.append(f'<p class="bad">Stopped: {html.escape(grade.status)}.</p>')
    parts += ["<table>", *map(_feedback_row, grade.feedback), "</table>"]
    for hand in key.by_hand:
        answer = html.escape(grade.answers.get(hand.task, "").strip())
        parts.append(
            f"<h2>{html.escape(hand.task)}</h2><p>Up to {hand.points:g} points, given"
            f" by your teacher.</p><pre>{answer or '(no answer)'}</pre>"
        )
    if grade.errors:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in grade.errors)
        parts.append(f"<h2>Errors in the notebook</h2><ul>{lines}</ul>")
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    target = Path(folder) / PAGES / page_name(grade.name)
    return write_file(target, text.encode("utf-8", "replace"))


def _feedback_row(each: Feedback) -> str:
    words = "".join(
        f"<dt>{name}</dt><dd>{html.escape(text)}</dd>"
        for name, text in each.rows()
        if text
    )
    mark, kind = ("✓", "good") if each.passed else ("✗", "bad")
    return (
        f'<tr><td class="{kind}">{mark}</td><th>{html.escape(each.task)}</th>'
        f'<td><dl>{words}</dl></td><td class="points">{each.points:g} of'
        f" {each.max_points:g}</td></tr>"
    )
