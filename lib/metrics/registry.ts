/** npm:prom-client, with what is needed of it: loaded only where metrics are asked for. */

import type { Counter, Gauge, Histogram, Registry } from "prom-client";

/** How a metric is declared. Values of labels are openme's own fixed words, never text from outside. */
interface Declaration {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
}

/** Makes metrics; each is in the text from then on. */
export interface MetricMaker {
  readonly counter: (declaration: Declaration) => Counter;
  /** `collect` sets its value, each time that the text is made. */
  readonly gauge: (declaration: Declaration, collect: (gauge: Gauge) => void) => Gauge;
  readonly histogram: (declaration: Declaration, buckets: readonly number[]) => Histogram;
}

/** A registry, empty, and what fills it. */
export async function openRegistry(): Promise<{ registry: Registry; make: MetricMaker }> {
  // Not the package's main file, which also loads what pushes, and what measures the process.
  const [registryClass, counter, gauge, histogram] = await Promise.all([
    import("prom-client/lib/registry.js"),
    import("prom-client/lib/counter.js"),
    import("prom-client/lib/gauge.js"),
    import("prom-client/lib/histogram.js"),
  ]);
  const registry: Registry = new registryClass.default();
  const options = ({ labelNames = [], ...rest }: Declaration) => ({
    ...rest,
    labelNames: [...labelNames],
    registers: [registry],
  });
  return {
    registry,
    make: {
      counter: (declaration) => new counter.default(options(declaration)),
      gauge: (declaration, collect) => {
        const made: Gauge = new gauge.default({
          ...options(declaration),
          collect: () => collect(made),
        });
        return made;
      },
      histogram: (declaration, buckets) =>
        new histogram.default({ ...options(declaration), buckets: [...buckets] }),
    },
  };
}
