/** action.yml as GitHub runs it: the scripts of its steps, and their environment. */

import assert from "node:assert/strict";
import { parse } from "yaml";
import { must } from "../support/knocks.ts";
import { ROOT } from "./blocks.ts";

export const ACTION = parse(await Deno.readTextFile(`${ROOT}action.yml`));

export interface Step {
  /** A script for `bash -e`. */
  readonly run: string;
  /** Its variables, for the inputs of a workflow and the folder that the action lies in. */
  readonly env: (inputs: Readonly<Record<string, string>>, path: string) => Record<string, string>;
}

/** The steps: the first gets ready, with nothing that is secret; the second knocks. */
export function actionSteps(): readonly [Step, Step] {
  assert.equal(ACTION.runs.using, "composite");
  const steps = ACTION.runs.steps.map((step: Record<string, string>): Step => {
    assert.equal(step["shell"], "bash");
    assert.ok(!step["run"]!.includes("${{"), "nothing of the workflow is put into the script");
    return {
      run: step["run"]!,
      env: (inputs, path) => {
        const values: Record<string, string> = { "github.action_path": path };
        for (
          const [name, { default: otherwise = "" }] of Object.entries<{ default?: string }>(
            ACTION.inputs,
          )
        ) values[`inputs.${name}`] = inputs[name] ?? otherwise;
        const fill = (text: string) =>
          text.replaceAll(/\$\{\{ (\S+) \}\}/g, (_, key: string) => must(values[key]));
        return Object.fromEntries(
          Object.entries(step["env"]!).map(([name, text]) => [name, fill(text)]),
        );
      },
    };
  });
  assert.equal(steps.length, 2);
  return steps;
}
