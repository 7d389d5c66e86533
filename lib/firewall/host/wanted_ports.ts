/** Whose connections to which ports are wanted: addresses and networks, each with ports of its own. */

import { type Address, formatAddress } from "../../values/address.ts";
import { containsAddress, formatNetwork, isSingle, type Network } from "../../values/network.ts";
import type { PortRange, Protocol } from "../../values/ports.ts";

/** An address, or a network, whose connections to these ports are wanted. */
export interface Place {
  readonly address: Network;
  readonly ports: readonly PortRange[];
}

/** What is wanted: ports by the text of their address or network. */
export interface WantedPorts {
  readonly byText: ReadonlyMap<string, readonly PortRange[]>;
  /** Those that are wider than an address. */
  readonly networks: readonly Network[];
}

/** Gathers what is wanted of each place. */
export function portsByPlace(places: readonly Place[]): WantedPorts {
  const byText = new Map<string, PortRange[]>();
  const networks: Network[] = [];
  for (const { address, ports } of places) {
    const text = formatNetwork(address);
    const known = byText.get(text);
    if (known) known.push(...ports);
    else byText.set(text, [...ports]);
    if (!known && !isSingle(address)) networks.push(address);
  }
  return { byText, networks };
}

/** Whether somebody at this address, connected to this port, is wanted. */
export function isWanted(
  wanted: WantedPorts,
  remote: Address,
  protocol: Protocol,
  port: number,
): boolean {
  const covers = (text: string) =>
    wanted.byText.get(text)?.some((range) =>
      range.protocol === protocol && range.first <= port && port <= range.last
    ) ?? false;
  return covers(formatAddress(remote)) ||
    wanted.networks.some((each) => containsAddress(each, remote) && covers(formatNetwork(each)));
}
