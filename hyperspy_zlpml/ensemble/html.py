# SPDX-License-Identifier: GPL-3.0-or-later
"""Write tables of HTML, as notebooks show them."""

from html import escape

#: Colours of verdicts, legible on light and dark ground.
_COLOURS = {"passed": "#2a9d4a", "failed": "#d1343b", "note": "#b7791f", "doubtful": "#b7791f"}


def table(rows, title=""):
    """Write a table of names and values.

    Parameters
    ----------
    rows : sequence of (str, str)
        Name, and HTML.
    title : str
        Written above, as text.

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy_zlpml.ensemble.html import table, text
    >>> table([("noise", text("gain < 1"))]).split(">")[-5:-3]
    ['gain &lt; 1</td', '</tr']
    """
    style = "text-align:left;vertical-align:top"
    body = "".join(
        f'<tr><th style="{style}">{escape(name)}</th><td style="{style}">{value}</td></tr>'
        for name, value in rows
    )
    head = f"<b>{escape(title)}</b>" if title else ""
    return f"{head}<table><tbody>{body}</tbody></table>"


def grid(header, rows):
    """Write a table with a line of names above; cells are text.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences of str

    Returns
    -------
    str
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(words):
    """Write text.

    Parameters
    ----------
    words : str

    Returns
    -------
    str
    """
    return escape(words)


def coloured(words, kind):
    """Write text in the colour of a verdict.

    Parameters
    ----------
    words : str
    kind : "passed", "doubtful", "failed" or "note"

    Returns
    -------
    str
    """
    return f'<span style="color:{_COLOURS[kind]};font-weight:bold">{escape(words)}</span>'
