/** The hidden command of the processes that `serve` starts: they deal with strangers, and can do nothing else. */

import type { Command } from "../context.ts";
import { bindSoon } from "../../receive/socket.ts";
import { passDescriptors } from "../../separate/descriptor.ts";
import { dropRights } from "../../separate/drop.ts";
import type { FleetRole } from "../../fleet/messages.ts";
import type { HealthRole } from "../../separate/health.ts";
import type { MetricsRole } from "../../separate/metrics.ts";
import type { KnocksRole } from "../../separate/messages.ts";
import { networkNamespace } from "../../separate/namespace.ts";
import { channelOfStdio } from "../../separate/stdio.ts";
import { giveUpSystemCalls } from "../../separate/syscalls.ts";
import { OpenmeError } from "../../values/errors.ts";
import { processClock } from "../../system/clock.ts";

/**
 * They end with their channel: these are for the process that has started them. Listened for first, since the runtime opens
 * a pair of sockets for that.
 */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGTSTP"] as const;

/** How long the taker of a server that was killed may still have the port. */
const FORMER_MS = 1000;

export const taker: Command = {
  about: "Started by openme serve: takes datagrams or requests of strangers, without any right.",
  example: "openme __taker",
  parameters: {},
  run: async (_args, context) => {
    for (const signal of SIGNALS) Deno.addSignalListener(signal, () => {});
    const channel = channelOfStdio();
    const messages = channel.messages[Symbol.asyncIterator]();
    const first = await messages.next();
    if (first.done) return 0;
    if (first.value === undefined) {
      throw new OpenmeError(
        "USAGE",
        "__taker expected a message from openme serve on standard input",
        {
          hint: "start openme serve: it starts this process itself",
        },
      );
    }
    const role = first.value as KnocksRole | HealthRole | MetricsRole | FleetRole;
    const giveUpRights = async () => {
      dropRights();
      giveUpSystemCalls(role.role);
      await context.keepPermissions(role.role === "fleet" ? ["net"] : []);
    };
    if (role.role === "fleet") {
      const { runFleetProcess } = await import("../../fleet/process.ts");
      await runFleetProcess(role, {
        ...{ messages, channel, giveUpRights, clock: processClock() },
        memory: () => Deno.memoryUsage().rss,
      });
      return 0;
    }
    if (role.role === "health") {
      const { runHealthProcess } = await import("../../separate/health_process.ts");
      await runHealthProcess(role, { messages, channel, giveUpRights });
      return 0;
    }
    if (role.role === "metrics") {
      const { runMetricsProcess } = await import("../../separate/metrics_process.ts");
      await runMetricsProcess(role, { messages, channel, giveUpRights });
      return 0;
    }
    const { runTaker } = await import("../../separate/taker.ts");
    await runTaker(role, {
      ...{ messages, channel, giveUpRights },
      bind: (port, wildcards) => bindSoon(FORMER_MS, port, wildcards, passDescriptors),
      namespace: networkNamespace(),
      clock: processClock(),
    });
    return 0;
  },
};
