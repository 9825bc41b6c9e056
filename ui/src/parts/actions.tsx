// What may be done with an execution. The server says it: each command is tried without being recorded, and what it
// would record is shown beside it.

import { useState } from "preact/hooks";
import { get, post, Problem, problemFrom, segment } from "../lib/api";
import type { Envelope, Execution, PatchOperation } from "../lib/types";
import { Refusal } from "./basics";
import { Patch } from "./patch";
import { Modal } from "./palette";

const COMMANDS: [string, string, boolean][] = [
  ["start", "Start", false],
  ["pause", "Pause", true],
  ["resume", "Resume", false],
  ["retry", "Retry", false],
  ["cancel", "Cancel", true],
];

/** Refusals that say that a command is not possible, or not for this caller. */
const NOT_POSSIBLE = [403, 409, 422];

interface Possible {
  name: string;
  title: string;
  reason: boolean;
  events: Envelope[];
  status: string;
}

export function Actions({ execution, done }: { execution: Execution; done: () => void }) {
  const [possible, setPossible] = useState<Possible[]>();
  const [problem, setProblem] = useState<Problem>();
  const [version, setVersion] = useState(0);
  const open = () => {
    setVersion(execution.version);
    setPossible(undefined);
    setProblem(undefined);
    Promise.all(COMMANDS.map((command) => attempt(execution.$id, command))).then(
      (tried) => setPossible(tried.filter((each) => each !== undefined)),
      (error: unknown) => setProblem(problemFrom(error)),
    );
  };
  const [asked, setAsked] = useState(false);
  return (
    <>
      <button type="button" onClick={() => (setAsked(true), open())}>
        Actions …
      </button>
      {asked && (
        <Modal title={`Actions on ${execution.$id}`} close={() => setAsked(false)}>
          <Refusal problem={problem} retry={open} />
          {possible === undefined && !problem && <p aria-busy="true">Asking what is possible …</p>}
          {possible?.length === 0 && (
            <p>Nothing can be done: it is {execution.status}, or you have no right to change it.</p>
          )}
          {possible?.map((each) => (
            <Action
              key={each.name}
              execution={execution}
              version={version}
              possible={each}
              done={() => (setAsked(false), done())}
            />
          ))}
        </Modal>
      )}
    </>
  );
}

async function attempt(id: string, [name, title, reason]: [string, string, boolean]): Promise<Possible | undefined> {
  try {
    const { body } = await post<{ events: Envelope[]; execution: Execution }>(
      `/executions/${segment(id)}/${name}?dryRun=true`,
      {},
    );
    return body.events.length > 0
      ? { name, title, reason, events: body.events, status: body.execution.status }
      : undefined;
  } catch (error) {
    if (error instanceof Problem && NOT_POSSIBLE.includes(error.status)) return undefined;
    throw error;
  }
}

interface Props {
  execution: Execution;
  version: number;
  possible: Possible;
  done: () => void;
}

function Action({ execution, version, possible, done }: Props) {
  const [reason, setReason] = useState("");
  const [problem, setProblem] = useState<Problem>();
  const [changed, setChanged] = useState<PatchOperation[]>();
  const send = async () => {
    try {
      await post(`/executions/${segment(execution.$id)}/${possible.name}`, reason ? { reason } : {}, {
        "if-match": `"${version}"`,
      });
      done();
    } catch (error) {
      const refusal = problemFrom(error);
      setProblem(refusal);
      if (refusal.status === 412) meanwhile(execution.$id, version).then(setChanged, () => undefined);
    }
  };
  return (
    <form class="action" onSubmit={(event) => (event.preventDefault(), void send())}>
      <p>
        <strong>{possible.title}</strong>: it becomes {possible.status}; records{" "}
        {possible.events.map((event) => event.type).join(", ")}.
      </p>
      {possible.reason && (
        <label>
          Reason
          <input value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
        </label>
      )}
      <button type="submit">{possible.title}</button>
      <Refusal problem={problem} />
      {changed && (
        <>
          <p>It changed meanwhile, since version {version}:</p>
          <Patch operations={changed} />
        </>
      )}
    </form>
  );
}

async function meanwhile(id: string, since: number): Promise<PatchOperation[]> {
  const { body } = await get<Execution>(`/executions/${segment(id)}`, { fields: "version" });
  return (await get<PatchOperation[]>(`/executions/${segment(id)}/diff`, { from: since, to: body.version })).body;
}
