/** Runs long work on the receiving thread in slices, between which datagrams are received. */

/** At 50,000 datagrams a second even the socket buffer that no one has enlarged is full only after 5.5 ms. */
const SLICE_MS = 1.5;

/** Does all the steps, each of which takes some µs, and gives the result. */
export async function inSlices<T>(steps: Iterator<unknown, T, void>): Promise<T> {
  for (;;) {
    const endMs = performance.now() + SLICE_MS;
    do {
      const { done, value } = steps.next();
      if (done) return value;
    } while (performance.now() < endMs);
    // A loop that is woken again and again without sleep looks at its sockets only every 61st time.
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
  }
}
