// For auditors: the signed head of the log, proofs checked in this browser, who did and saw what, and the evidence to take away.

import { useState } from "preact/hooks";
import { get, Problem, segment } from "../lib/api";
import { useLoad, useTitle } from "../lib/load";
import { isConsistent, isIncluded, isSigned, type Consistency, type Inclusion, type TreeHead } from "../lib/proof";
import { query, setQuery } from "../lib/route";
import { count } from "../lib/time";
import type { Execution, Me, Page } from "../lib/types";
import { Copy, Fact, Facts, Refusal, When } from "../parts/basics";
import { Download } from "../parts/download";
import { Table } from "../parts/table";

const KEPT = "executions.head";

export function AuditPage() {
  useTitle("Audit");
  const rights = useLoad("me", async (abort) => (await get<Me>("/me", {}, abort)).body).data?.rights ?? [];
  const all = rights.includes("holds.manage");
  return (
    <section class="audit">
      <div class="list-head">
        <h1>Audit</h1>
        <button type="button" onClick={() => print()}>
          Print
        </button>
      </div>
      <Head />
      <OfExecution />
      {rights.includes("catalog.read") && <Grants />}
      {all || query.value.get("execution") ? (
        <Trail />
      ) : (
        <p class="quiet">Name an execution to see who did and saw what.</p>
      )}
    </section>
  );
}

interface Checked {
  what: string;
  good: boolean | undefined;
}

async function checkHead(head: TreeHead): Promise<Checked[]> {
  const found: Checked[] = [{ what: "The signature is by the key of the log", good: await isSigned(head) }];
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null") as TreeHead | null;
  if (kept && kept.origin === head.origin && kept.treeSize > 0) {
    const same = kept.publicKey === head.publicKey;
    found.push({ what: "The key is that of this browser's last visit", good: same });
    if (kept.treeSize <= head.treeSize) {
      const { body } = await get<Consistency>("/audit/consistency", { from: kept.treeSize, to: head.treeSize });
      const good = body.fromHash === kept.rootHash && body.toHash === head.rootHash && (await isConsistent(body));
      found.push({
        what: `Nothing of the ${count(kept.treeSize)} events of the last visit was changed or removed`,
        good,
      });
    } else found.push({ what: "The log has become shorter since the last visit", good: false });
  }
  if (found.every((each) => each.good !== false)) localStorage.setItem(KEPT, JSON.stringify(head));
  return found;
}

function Head() {
  const head = useLoad("head", async (abort) => {
    const { body } = await get<TreeHead>("/audit/tree-head", {}, abort);
    return { head: body, checked: body.treeSize > 0 ? await checkHead(body) : [] };
  });
  return (
    <>
      <h2>The log as it is signed</h2>
      <Refusal problem={head.problem} retry={head.reload} />
      {head.data && (
        <>
          <Facts>
            <Fact name="Events">{count(head.data.head.treeSize)}</Fact>
            <Fact name="Signed">
              <When at={head.data.head.timestamp} />
            </Fact>
            <Fact name="Log">{head.data.head.origin}</Fact>
            <Fact name="Root">
              <code class="hash">{head.data.head.rootHash}</code>
            </Fact>
            <Fact name="Key">
              <code class="hash">{head.data.head.publicKey}</code>
            </Fact>
          </Facts>
          <Checks checked={head.data.checked} />
          <Copy text={head.data.head.note} label="signed head" />
        </>
      )}
    </>
  );
}

function Checks({ checked }: { checked: Checked[] }) {
  return (
    <div role="status">
      <ul class="checks">
        {checked.map(({ what, good }) => (
          <li key={what} class={good === false ? "bad" : good ? "good" : ""}>
            <span aria-hidden="true">{good === undefined ? "?" : good ? "✓" : "✕"}</span> {what}
            {good === false && ": no"}
            {good === undefined && ": this browser cannot tell"}
          </li>
        ))}
      </ul>
    </div>
  );
}

function OfExecution() {
  const id = query.value.get("execution") ?? "";
  const [checked, setChecked] = useState<Checked[]>([]);
  const [problem, setProblem] = useState<Problem>();
  const verify = async () => {
    setChecked([]);
    setProblem(undefined);
    try {
      const { body } = await get<Execution>(`/executions/${segment(id)}`, { fields: "position,version" });
      const { body: head } = await get<TreeHead>("/audit/tree-head", { minPosition: body.position });
      const { body: proof } = await get<Inclusion>("/audit/inclusion", {
        position: body.position,
        treeSize: head.treeSize,
      });
      const good = proof.rootHash === head.rootHash && (await isIncluded(proof));
      setChecked([
        { what: `Its last event, at position ${count(body.position)}, is in the signed log`, good },
        { what: "The signature is by the key of the log", good: await isSigned(head) },
      ]);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  return (
    <>
      <h2>One execution</h2>
      <form class="filters" onSubmit={(event) => (event.preventDefault(), void verify())}>
        <label>
          Execution
          <input
            data-filter
            key={id}
            defaultValue={id}
            required
            onChange={(event) => setQuery({ execution: event.currentTarget.value.trim() })}
          />
        </label>
        <button type="submit">Check in this browser</button>
        {id && (
          <Download path={`/audit/bundle/${segment(id)}`} name={`${id}.zip`}>
            Download the evidence
          </Download>
        )}
      </form>
      <p class="quiet">
        The evidence is a zip with every event, its proofs and a verify.py that needs nothing but Python, and no access
        to this server.
      </p>
      <Refusal problem={problem} />
      <Checks checked={checked} />
    </>
  );
}

interface Grant {
  $id: string;
  status: string;
  auditor: string;
  purpose: string;
  expiresAt: string;
  createdAt?: string;
  executions?: string[];
  order?: string;
  service?: string;
  filter?: unknown;
}

/** What auditors may read, of what this caller reaches. */
function Grants() {
  const grants = useLoad("grants", async (abort) => (await get<Page<Grant>>("/grants", { limit: 200 }, abort)).body);
  return (
    <>
      <h2>Grants</h2>
      <Refusal problem={grants.problem} retry={grants.reload} />
      {grants.data?.data.length === 0 && <p class="quiet">No auditor was granted anything.</p>}
      {grants.data && grants.data.data.length > 0 && (
        <Table
          label="Grants"
          rows={grants.data.data}
          rowKey={(grant) => grant.$id}
          columns={[
            { title: "Auditor", cell: (grant) => grant.auditor },
            { title: "May read", cell: granted },
            { title: "For", cell: (grant) => grant.purpose },
            { title: "Until", cell: (grant) => <When at={grant.expiresAt} /> },
            { title: "Status", cell: (grant) => (Date.parse(grant.expiresAt) < Date.now() ? "expired" : grant.status) },
          ]}
        />
      )}
    </>
  );
}

function granted(grant: Grant): string {
  if (grant.order) return `order ${grant.order}`;
  if (grant.service) return `service ${grant.service}`;
  return grant.executions?.join(", ") ?? JSON.stringify(grant.filter);
}

interface TrailEntry {
  kind: "event" | "access";
  action: string;
  time: string;
  actor: string;
  executions: string[];
  purpose?: string;
  address?: string;
}

function Trail() {
  const execution = query.value.get("execution") ?? "";
  const actor = query.value.get("actor") ?? "";
  const trail = useLoad(`${execution} ${actor}`, async (abort) => {
    return (await get<Page<TrailEntry>>("/audit/trail", { execution, actor, order: "desc", limit: 200 }, abort)).body;
  });
  return (
    <>
      <h2>Who did and saw what</h2>
      <div class="filters">
        <label>
          Actor
          <input
            key={actor}
            defaultValue={actor}
            onChange={(event) => setQuery({ actor: event.currentTarget.value.trim() })}
          />
        </label>
      </div>
      <Refusal problem={trail.problem} retry={trail.reload} />
      {trail.data?.data.length === 0 && <p class="empty">Nothing that this filter finds.</p>}
      {trail.data && trail.data.data.length > 0 && (
        <Table
          label="Trail"
          rows={trail.data.data}
          rowKey={(_, index) => index}
          columns={[
            { title: "When", cell: (entry) => <When at={entry.time} milliseconds /> },
            { title: "Who", cell: (entry) => entry.actor },
            { title: "What", cell: (entry) => <Done entry={entry} /> },
            { title: "Execution", cell: (entry) => entry.executions.slice(0, 3).join(", ") },
            { title: "Purpose", cell: (entry) => entry.purpose },
          ]}
        />
      )}
    </>
  );
}

function Done({ entry }: { entry: TrailEntry }) {
  return (
    <>
      {entry.kind === "event" ? "did" : "read"} <code>{entry.action}</code>
    </>
  );
}
