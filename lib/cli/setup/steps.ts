/**
 * What `openme setup` does, as data: every step can be shown as the command that does it by hand, and then be done.
 * Which steps there are is decided here, from what was found; `perform.ts` does them.
 */

/** Where setup writes. The units read the default configuration, so these are no options. */
export const PLACES = {
  folder: "/etc/openme",
  config: "/etc/openme/config.yaml",
  /** What setup has made, for the way back. */
  record: "/etc/openme/setup.json",
  units: "/etc/systemd/system",
  /** Gone after a reboot, and with it the server that waits to be confirmed. */
  trial: "/run/systemd/system/openme.service.d",
} as const;

export const SERVER_UNIT = "openme.service";
export const GUARD_UNIT = "openme-guard.service";
/** In packaging/, where each has its purpose in its first lines. The last ones come and go with the server. */
export const UNITS = [
  SERVER_UNIT,
  GUARD_UNIT,
  "openme-taker.socket",
  "openme-taker@.service",
  "openme-fleet.socket",
  "openme-fleet@.service",
] as const;

/** One step. Removing what is not there is no failure. */
export type Step =
  | {
    readonly kind: "run";
    readonly argv: readonly [program: string, ...args: string[]];
    /** Whether it may fail, since what it ends may have ended already. */
    readonly mayFail?: boolean;
  }
  | { readonly kind: "openme"; readonly argv: readonly [command: string, ...args: string[]] }
  /** Writes the units that are not there. */
  | { readonly kind: "units"; readonly folder: string }
  | { readonly kind: "write"; readonly path: string; readonly text: string }
  | { readonly kind: "remove"; readonly paths: readonly string[] }
  /** The state directory, with what openme keeps in it. */
  | { readonly kind: "remove_state"; readonly folder: string }
  /** A folder that setup made, unless something else is in it. */
  | { readonly kind: "remove_folder"; readonly folder: string };

/** What setup has made or changed, and so takes back. */
export interface Made {
  /** Files that were not there before. */
  readonly files: readonly string[];
  /** The state directory, where it was not there before. */
  readonly stateDir?: string | undefined;
  /** Whether the configuration's folder was not there before. */
  readonly folder: boolean;
  /** The units that are to be enabled. */
  readonly enabled: readonly string[];
  /** Those of them that were enabled before. */
  readonly enabledBefore: readonly string[];
  /** Whether the server ran before: then it goes on running. */
  readonly ranBefore: boolean;
  /** Whether a guard stood before, which a server that is not confirmed puts back itself. */
  readonly guardBefore: boolean;
}

/** The configuration, for which `server` is given where there is none, and the units that are missing. */
export function preparingSteps(
  { files }: Pick<Made, "files">,
  server: { readonly host: string; readonly ports: readonly string[] } | undefined,
): readonly Step[] {
  const steps: Step[] = [];
  if (server) {
    const flags = [
      "--server",
      server.host,
      "--ports",
      server.ports.join(","),
      "--on-stop",
      "closed",
    ];
    steps.push({ kind: "openme", argv: ["init", ...flags] });
  }
  if (files.some(isUnitFile)) steps.push({ kind: "units", folder: PLACES.units }, reload);
  return steps;
}

/** A server that puts everything back unless it is confirmed, and that no reboot starts again. */
export function trialSteps(
  confirm: string,
  { enabledBefore }: Pick<Made, "enabledBefore">,
): readonly Step[] {
  const text = `[Service]
ExecStart=
ExecStart=openme serve --confirm ${confirm}
Restart=no
`;
  return [
    ...(enabledBefore.length > 0 ? [systemctl("disable", ...enabledBefore.toReversed())] : []),
    { kind: "write", path: `${PLACES.trial}/setup.conf`, text },
    reload,
    { kind: "run", argv: ["systemctl", "start", SERVER_UNIT] },
  ];
}

/** Makes a confirmed server permanent, without a restart of it. */
export function keepingSteps({ enabled, ranBefore }: Made): readonly Step[] {
  return [
    ...(ranBefore ? [] : [
      { kind: "remove", paths: [`${PLACES.trial}/setup.conf`] },
      { kind: "remove_folder", folder: PLACES.trial },
      reload,
    ] as const),
    systemctl("enable", ...enabled),
    // Runs already, unless the power failed just now.
    ...(ranBefore ? [] : [systemctl("start", SERVER_UNIT)]),
  ];
}

/** Takes everything back. */
export function undoSteps(made: Made): readonly Step[] {
  const { files, stateDir, ranBefore, guardBefore, enabledBefore } = made;
  const enabled = made.enabled.filter((unit) => !enabledBefore.includes(unit));
  const others = files.filter((file) => !isUnitFile(file));
  return [
    ...(ranBefore ? [] : [mayFail("stop", SERVER_UNIT)]),
    ...(enabled.length > 0 ? [mayFail("disable", ...enabled.toReversed())] : []),
    ...(ranBefore || guardBefore ? [] : [{ kind: "openme", argv: ["uninstall"] } as const]),
    ...(ranBefore ? [] : [mayFail("stop", GUARD_UNIT)]),
    { kind: "remove", paths: [`${PLACES.trial}/setup.conf`, ...files.filter(isUnitFile)] },
    { kind: "remove_folder", folder: PLACES.trial },
    reload,
    ...(ranBefore ? [] : [mayFail("reset-failed", SERVER_UNIT)]),
    ...(enabledBefore.length > 0 ? [mayFail("enable", ...enabledBefore)] : []),
    ...(others.length > 0 ? [{ kind: "remove", paths: others } as const] : []),
    ...(stateDir === undefined ? [] : [{ kind: "remove_state", folder: stateDir } as const]),
  ];
}

/** The last steps of taking back: only once all else is gone. */
export function lastUndoSteps({ folder }: Pick<Made, "folder">): readonly Step[] {
  return [
    { kind: "remove", paths: [PLACES.record] },
    ...(folder ? [{ kind: "remove_folder", folder: PLACES.folder } as const] : []),
  ];
}

function isUnitFile(file: string): boolean {
  return file.startsWith(`${PLACES.units}/`);
}

const reload = systemctl("daemon-reload");

function systemctl(...args: string[]): Step {
  return { kind: "run", argv: ["systemctl", ...args] };
}

function mayFail(...args: string[]): Step {
  return { kind: "run", argv: ["systemctl", ...args], mayFail: true };
}

/** The command that does a step by hand, as root. */
export function commandOf(step: Step): string {
  switch (step.kind) {
    case "run":
      return inShell(step.argv);
    case "openme":
      return inShell(["openme", ...step.argv]);
    case "units":
      return inShell(["openme", "setup", "--units", step.folder]);
    case "write": {
      const folder = step.path.slice(0, step.path.lastIndexOf("/"));
      const lines = step.text.replace(/\n$/, "").split("\n");
      return `mkdir -p ${inShell([folder])} && printf '%s\\n' ${inShell(lines)} > ${
        inShell([step.path])
      }`;
    }
    case "remove":
      return inShell(["rm", "-f", ...step.paths]);
    case "remove_state":
      return inShell(["rm", "-rf", step.folder]);
    case "remove_folder":
      return inShell(["rmdir", "--ignore-fail-on-non-empty", step.folder]);
  }
}

/** Words as a POSIX shell reads them. */
export function inShell(words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  ).join(" ");
}
