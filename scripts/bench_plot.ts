/** The plot of docs/performance.md: what each daemon accepts and takes beside junk from forged sources. */

/** One daemon's measurements. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

interface Point {
  /** Junk datagrams a second. */
  readonly rate: number;
  /** Of the good knocks accepted, 0 to 1. */
  readonly share: number;
  readonly cores: number;
  readonly mb: number;
}

interface Panel {
  readonly title: string;
  readonly valueOf: (point: Point) => number;
  /** The lines across, from 0 to the highest. */
  readonly marks: readonly number[];
  readonly unit: string;
}

const [WIDTH, LEFT, RIGHT] = [720, 60, 40];
/** Of a panel, with its title above and its rates below. */
const [HEIGHT, TOP, BOTTOM] = [270, 40, 40];
const LEGEND = 50;
const COLOURS = ["#0b6e4f", "#6aa84f", "#1a9ba1", "#c0392b", "#e67e22", "#7f8c8d", "#2980b9"];

/** An SVG with three panels, one below the other: accepted, processor, memory. A line for each series. */
export function plotOf(series: readonly Series[]): string {
  const points = series.flatMap((each) => each.points);
  const rates = [...new Set(points.map(({ rate }) => rate))].sort((a, b) => a - b);
  const panels: Panel[] = [
    {
      title: "Good knocks accepted, each sent once, beside right-sized junk from 10,000 sources",
      valueOf: ({ share }) => 100 * share,
      marks: [0, 25, 50, 75, 100],
      unit: "%",
    },
    {
      title: "Processor that this takes, cores",
      valueOf: ({ cores }) => cores,
      marks: marksTo(Math.max(...points.map(({ cores }) => cores)), 0.25),
      unit: "",
    },
    {
      title: "Memory that this takes at most",
      valueOf: ({ mb }) => mb,
      marks: marksTo(Math.max(...points.map(({ mb }) => mb)), 50),
      unit: "MB",
    },
  ];
  const height = LEGEND + panels.length * HEIGHT;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif">
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
${legendOf(series)}
${panels.map((panel, i) => panelOf(panel, LEGEND + i * HEIGHT, series, rates)).join("\n")}
</svg>
`;
}

/** From 0 in steps to the first mark that is not below the value. */
function marksTo(value: number, step: number): number[] {
  return Array.from({ length: Math.ceil(value / step) + 1 }, (_, i) => i * step);
}

function text(x: number, y: number, content: string, more = ""): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-size="12" ${more}>${content}</text>`;
}

function legendOf(series: readonly Series[]): string {
  const width = (WIDTH - LEFT) / Math.ceil(series.length / 2);
  return series.map(({ name }, i) =>
    text(LEFT + width * (i >> 1), 18 + 18 * (i % 2), name, `fill="${COLOURS[i]}"`)
  ).join("\n");
}

function panelOf(
  { title, valueOf, marks, unit }: Panel,
  top: number,
  series: readonly Series[],
  rates: readonly number[],
): string {
  const x = (rate: number) =>
    LEFT + (WIDTH - LEFT - RIGHT) * rates.indexOf(rate) / Math.max(1, rates.length - 1);
  const y = (value: number) =>
    top + HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / (marks.at(-1) || 1);
  const foot = top + HEIGHT - BOTTOM + 16;
  return [
    text(LEFT, top + 24, title),
    ...marks.map((mark) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(mark)}" y2="${y(mark)}" stroke="#ddd"/>` +
      text(LEFT - 8, y(mark) + 4, `${mark} ${unit}`.trim(), `text-anchor="end"`)
    ),
    ...rates.map((rate) => text(x(rate), foot, rate.toLocaleString("en"), `text-anchor="middle"`)),
    text(WIDTH / 2, foot + 16, "junk datagrams a second", `text-anchor="middle"`),
    ...series.map(({ points }, i) => {
      const line = points.map((point) =>
        `${x(point.rate).toFixed(1)},${y(valueOf(point)).toFixed(1)}`
      ).join(" ");
      return `<polyline points="${line}" fill="none" stroke="${COLOURS[i]}" stroke-width="2.5"/>`;
    }),
  ].join("\n");
}
