/** The plot of docs/performance.md: what share of good knocks passes beside how much junk from forged sources. */

/** One daemon's measurements. */
export interface Series {
  readonly name: string;
  readonly points: readonly { rate: number; sources: number; share: number }[];
}

const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [720, 400, 60, 40, 40, 50];
const COLOURS = ["#0b6e4f", "#6aa84f", "#c0392b", "#e67e22", "#7f8c8d", "#2980b9"];

/** An SVG with a line for each series, over the rates from forged sources. */
export function plotOf(series: readonly Series[]): string {
  const forged = series.map(({ name, points }) => ({
    name,
    points: points.filter(({ sources, rate }) => sources > 1 || rate === 0),
  }));
  const rates = [...new Set(forged.flatMap(({ points }) => points.map(({ rate }) => rate)))].sort((
    a,
    b,
  ) => a - b);
  const x = (rate: number) =>
    LEFT + (WIDTH - LEFT - RIGHT) * rates.indexOf(rate) / Math.max(1, rates.length - 1);
  const y = (share: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share);
  const text = (at: string, content: string, more = "") =>
    `<text ${at} font-size="12" ${more}>${content}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${
    text(
      `x="${LEFT}" y="20"`,
      "Good knocks accepted, each sent once, beside right-sized junk from 10,000 forged sources",
    )
  }
${
    [0, 0.25, 0.5, 0.75, 1].map((share) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(share)}" y2="${y(share)}" stroke="#ddd"/>` +
      text(`x="${LEFT - 8}" y="${y(share) + 4}"`, `${100 * share} %`, `text-anchor="end"`)
    ).join("\n")
  }
${
    rates.map((rate) =>
      text(
        `x="${x(rate)}" y="${HEIGHT - BOTTOM + 20}"`,
        rate.toLocaleString("en"),
        `text-anchor="middle"`,
      )
    ).join("\n")
  }
${text(`x="${WIDTH / 2}" y="${HEIGHT - 10}"`, "junk datagrams a second", `text-anchor="middle"`)}
${
    forged.map(({ name, points }, i) => {
      const line = points.map(({ rate, share }) => `${x(rate).toFixed(1)},${y(share).toFixed(1)}`)
        .join(" ");
      return `<polyline points="${line}" fill="none" stroke="${COLOURS[i]}" stroke-width="2.5"/>` +
        text(
          `x="${LEFT + 12}" y="${HEIGHT - BOTTOM - 14 - 18 * (forged.length - 1 - i)}" fill="${
            COLOURS[i]
          }"`,
          name,
        );
    }).join("\n")
  }
</svg>
`;
}
