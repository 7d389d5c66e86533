/** Work in steps: a generator that yields wherever it may be interrupted. */

/** Does all the steps at once, and gives the result. */
export function atOnce<T>(steps: Iterator<unknown, T, void>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
