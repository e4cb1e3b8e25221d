"""Status page at `/`: description and simulated charges."""

from collections.abc import Sequence
from decimal import Decimal
from html import escape

from contentgen_sandbox.faults import Fault
from contentgen_sandbox.ledger import LedgerEntry

SHOWN = 200
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
.total { font-size: 2.6rem; font-weight: 650; margin: 1.2rem 0 0; }
.faint { opacity: .7; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; font-size: .9rem; }
th { text-align: left; font-weight: 600; }
th, td { padding: .45rem .8rem .45rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
td.usd { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; overflow-wrap: anywhere; }
"""
LINKS = (
    ("/sandbox/ledger", "the ledger as JSON"),
    ("/sandbox/faults", "the faults that are armed"),
    ("/docs", "every path"),
    ("/healthz", "health"),
)


def page(entries: Sequence[LedgerEntry], faults: Sequence[Fault]) -> str:
    total = sum((entry.amount_usd for entry in entries), Decimal(0))
    links = " · ".join(f'<a href="{path}">{text}</a>' for path, text in LINKS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>contentgen sandbox</title><style>{STYLE}</style></head><body>
<h1>contentgen sandbox</h1>
<p class="faint">A free stand-in for fal.ai and AssemblyAI. Nothing here is billed; this is what would have been.</p>
<p class="total">${total:.2f}</p>
<p class="faint">{len(entries)} paid requests, {len(faults)} faults armed</p>
<p>{links}</p>
<div class="wide">{_table(entries)}</div>
</body></html>"""


def _table(entries: Sequence[LedgerEntry]) -> str:
    if not entries:
        return "<p>No paid request yet.</p>"
    rows = "".join(_row(entry) for entry in list(reversed(entries))[:SHOWN])
    head = "<th>When (UTC)</th><th>Model</th><th>What</th><th>Marker</th><th>US$</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(entry: LedgerEntry) -> str:
    return (
        f"<tr><td>{entry.created_at:%Y-%m-%d %H:%M:%S}</td>"
        f"<td>{escape(' '.join((entry.provider, entry.account)).strip())}<br><code>{escape(entry.model)}</code></td>"
        f"<td>{escape(entry.what)}</td><td><code>{escape(entry.marker or '')}</code></td>"
        f'<td class="usd">{entry.amount_usd}</td></tr>'
    )
