"""Draws a bar chart as SVG text that is readable on light and dark pages."""

from xml.sax.saxutils import escape

ROW, TEXT, CHART, MARGIN = 26, 470, 360, 12


def bar_chart(title: str, rows: list[tuple[str, float, float | None]]) -> str:
    """Returns the chart. `rows` are (name, value, bar or None); values are ratios, and the peer is 1."""
    most = max([1.0] + [value for _, value, _ in rows])
    scale = CHART / (most * 1.08)
    height = MARGIN * 2 + ROW * (len(rows) + 2)
    width = TEXT + CHART + 4 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 14}" font-size="15" fill="#222">{escape(title)}</text>',
    ]
    for index, (name, value, bar) in enumerate(rows):
        y = MARGIN + ROW * (index + 1)
        color = "#2a7f62" if bar is None or value <= bar else "#b8442e"
        parts.append(f'<text x="{TEXT}" y="{y + 17}" text-anchor="end" fill="#222">{escape(name)}</text>')
        parts.append(
            f'<rect x="{TEXT + MARGIN}" y="{y + 4}" width="{value * scale:.1f}" height="{ROW - 8}" fill="{color}"/>'
        )
        parts.append(f'<text x="{TEXT + MARGIN + value * scale + 6:.1f}" y="{y + 17}" fill="#222">{value:.2f}</text>')
        if bar is not None:
            x = TEXT + MARGIN + bar * scale
            parts.append(
                f'<line x1="{x:.1f}" y1="{y + 1}" x2="{x:.1f}" y2="{y + ROW - 1}" stroke="#222" stroke-dasharray="3 2"/>'
            )
    x = TEXT + MARGIN + scale
    parts.append(
        f'<line x1="{x:.1f}" y1="{MARGIN + ROW}" x2="{x:.1f}" y2="{MARGIN + ROW * (len(rows) + 1)}" stroke="#666"/>'
    )
    parts.append(
        f'<text x="{x:.1f}" y="{MARGIN + ROW * (len(rows) + 1) + 16}" text-anchor="middle" fill="#666">HAProxy</text>'
    )
    return "\n".join(parts + ["</svg>"]) + "\n"
