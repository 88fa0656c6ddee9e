// A line chart as SVG: figures by a magnitude, which is drawn in equal steps, since the sizes grow by factors.
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [640, 300, 60, 20, 40, 50]
const COLOURS = ['#1f6feb', '#d1242f', '#1a7f37', '#8250df']
const escape = text => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** @param {{ title: string, x: string, y: string, labels: string[], lines: Record<string, number[]> }} chart */
export function picture ({ title, x, y, labels, lines }) {
  const most = Math.max(...Object.values(lines).flat())
  const unit = 10 ** Math.floor(Math.log10(most))
  const step = [1, 2, 5, 10].map(part => part * unit / 5).find(part => most / part <= 6) ?? unit
  const top = Math.ceil(most / step) * step
  const across = i => LEFT + (labels.length === 1 ? 0 : i * (WIDTH - LEFT - RIGHT) / (labels.length - 1))
  const up = value => HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)
  const at = (i, value) => `${across(i).toFixed(1)},${up(value).toFixed(1)}`
  const text = (px, py, what, anchor = 'middle', more = '') => `<text x="${px.toFixed(1)}" y="${py.toFixed(1)}" text-anchor="${anchor}"${more}>${escape(what)}</text>`
  const grid = Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step).map(value =>
    `<line x1="${LEFT}" y1="${up(value).toFixed(1)}" x2="${WIDTH - RIGHT}" y2="${up(value).toFixed(1)}" stroke="#d0d7de"/>${text(LEFT - 8, up(value) + 4, Number(value.toPrecision(3)), 'end')}`)
  const drawn = Object.entries(lines).map(([name, values], n) => {
    const colour = COLOURS[n % COLOURS.length]
    const dots = values.map((value, i) => `<circle cx="${at(i, value).split(',')[0]}" cy="${at(i, value).split(',')[1]}" r="3" fill="${colour}"/>`).join('')
    return `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${values.map((value, i) => at(i, value)).join(' ')}"/>${dots}${text(LEFT + 10, TOP + 12 + n * 16, name, 'start', ` fill="${colour}"`)}`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${text(WIDTH / 2, 20, title, 'middle', ' font-size="14" font-weight="bold"')}
${grid.join('\n')}
${labels.map((label, i) => text(across(i), HEIGHT - BOTTOM + 18, label)).join('\n')}
${text(WIDTH / 2, HEIGHT - 10, x)}
${text(14, HEIGHT / 2, y, 'middle', ` transform="rotate(-90 14 ${HEIGHT / 2})"`)}
${drawn.join('\n')}
</svg>
`
}
