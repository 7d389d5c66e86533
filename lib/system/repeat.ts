/** What is done again and again. */

/** One of several. */
export interface Task {
  readonly everyMs: number;
  readonly do: () => void;
}

/** Does each task `everyMs` after its last time, never sooner; returns what ends that. */
export function repeat(tasks: readonly Task[]): () => void {
  const timers = new Map<Task, ReturnType<typeof setTimeout>>();
  const wait = (task: Task) => {
    const due = () => {
      wait(task);
      task.do();
    };
    timers.set(task, setTimeout(due, task.everyMs));
  };
  tasks.forEach(wait);
  return () => timers.forEach((timer) => clearTimeout(timer));
}
