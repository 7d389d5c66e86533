/** Runs long work on the receiving thread in slices, between which datagrams are received. */

/**
 * V8's collector may stop the thread for as long again, or three times as long. At 50,000 datagrams a second a socket
 * buffer of the usual size is full after 5.5 ms.
 */
const SLICE_MS = 1.5;

/**
 * Does all the steps, each of which takes some µs, and gives the result. Sleeps before, between and after the slices: a
 * loop that is woken again and again without sleep looks at its sockets only every 61st time.
 */
export async function inSlices<T>(steps: Iterator<unknown, T, void>): Promise<T> {
  const sleep = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
  for (;;) {
    await sleep();
    const endMs = performance.now() + SLICE_MS;
    do {
      const { done, value } = steps.next();
      if (!done) continue;
      await sleep();
      return value;
    } while (performance.now() < endMs);
  }
}
