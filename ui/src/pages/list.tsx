// All executions that meet a filter: the address is the filter. Rows never move under the reader.

import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import { get, problemFrom, seenSoFar, query as queryText, segment, type Parameters, type Problem } from "../lib/api";
import { useCreatedSince, useFresh } from "../lib/listed";
import { useLoad, useTitle } from "../lib/load";
import { link, query, setQuery } from "../lib/route";
import { cost, count, duration } from "../lib/time";
import type { Execution, Page } from "../lib/types";
import { Refusal, StatusMark, When, Who, Progress } from "../parts/basics";
import { Download } from "../parts/download";
import { Facets } from "../parts/facets";
import { Filters, SavedViews } from "../parts/filters";
import { FirstSteps } from "../parts/first_steps";
import { isTyping } from "../parts/palette";

const FIELDS =
  "$id,status,progress,service,customer,provider,order,assignee,priority,tags,error.code,metrics,metadata.createdAt,stalled,version,position";
const FACETS = "status,service,assignee.type,error.code";
const SHOWN = ["cursor", "pick"];

export const SORTS: [string, string][] = [
  ["-metadata.createdAt", "Newest first"],
  ["metadata.createdAt", "Oldest first"],
  ["-priority,metadata.createdAt", "Most urgent first"],
  ["-metrics.duration", "Longest first"],
  ["-metrics.cost", "Dearest first"],
  ["-metadata.updatedAt", "Changed last"],
];

/** The filter of the address as parameters of the API; `sort` included. */
export function filterOf(found: URLSearchParams): Parameters {
  const filter: Parameters = {};
  for (const name of new Set(found.keys())) {
    if (!SHOWN.includes(name)) filter[name] = found.getAll(name);
  }
  return filter;
}

/** Whether it leaves out executions; which new ones meet it, only the server knows. */
function isFilter(filter: Parameters): boolean {
  return Object.keys(filter).some((name) => name !== "sort");
}

export function ListPage() {
  useTitle("All");
  const filter = filterOf(query.value);
  const key = queryText(filter);
  const first = useLoad(key, async (abort) => {
    const parameters = { ...filter, ...seenSoFar(), fields: FIELDS, facets: FACETS, count: true };
    const { body, position } = await get<Page<Execution>>("/executions", parameters, abort);
    return { ...body, position };
  });
  const [more, setMore] = useState<{ key: string; pages: Page<Execution>[] }>({ key, pages: [] });
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    setMore({ key, pages: [] });
    setProblem(undefined);
  }, [first.data]);
  const pages = first.data ? [first.data, ...(more.key === key ? more.pages : [])] : [];
  const loaded = pages.flatMap((page) => page.data);
  const fresh = useFresh(loaded, FIELDS);
  const rows = loaded.map(fresh.of);
  const created = useCreatedSince(first.data?.position ?? Infinity);
  const cursor = pages.at(-1)?.nextCursor;
  const loadMore = async () => {
    try {
      const { body } = await get<Page<Execution>>("/executions", { ...filter, fields: FIELDS, cursor: cursor! });
      const next = [...(more.key === key ? more.pages : []), body];
      setMore((before) => (before === more ? { key, pages: next } : before));
      setProblem(undefined);
    } catch (error) {
      setProblem(problemFrom(error));
    }
  };
  if (first.data && rows.length === 0 && key === "") return <FirstSteps reload={first.reload} />;
  return (
    <section class="list" aria-busy={first.busy}>
      <div class="list-head">
        <h1>Executions</h1>
        <span role="status">{first.data && `${count(first.data.total)} found`}</span>
        {created && (
          <button type="button" onClick={first.reload}>
            {isFilter(filter) ? "There may be new ones" : `${created} new`}
          </button>
        )}
        <SavedViews />
        <Download path={`/executions.csv${key}`} name="executions.csv">
          CSV
        </Download>
        <Download path={`/executions.ndjson${key}`} name="executions.ndjson">
          JSON
        </Download>
      </div>
      <Filters sorts={SORTS} />
      <Refusal problem={first.problem} retry={first.reload} />
      <Refusal problem={fresh.problem} retry={fresh.retry} />
      <div class="list-body">
        <Facets facets={first.data?.facets} />
        <div class="list-rows">
          <Table rows={rows} />
          {first.data && rows.length === 0 && <NoHits />}
          <Refusal problem={problem} />
          {cursor && (
            <button type="button" onClick={() => void loadMore()}>
              Show more
            </button>
          )}
        </div>
      </div>
    </section>
  );
}

function NoHits() {
  return (
    <p class="empty">
      Nothing meets this filter. <a href={link("/")}>Show all executions</a>
    </p>
  );
}

function Table({ rows }: { rows: Execution[] }) {
  const [at, setAt] = useState(-1);
  const picked = (query.value.get("pick") ?? "").split(",").filter(Boolean);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey) return;
      if (event.key === "j") setAt((before) => Math.min(before + 1, rows.length - 1));
      else if (event.key === "k") setAt((before) => Math.max(before - 1, 0));
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [rows.length]);
  useLayoutEffect(() => {
    if (at >= 0) document.querySelectorAll<HTMLElement>("tr[data-row] a")[at]?.focus();
  }, [at]);
  const pick = (id: string) => {
    const next = picked.includes(id) ? picked.filter((each) => each !== id) : [...picked, id].slice(-2);
    setQuery({ pick: next.join(",") }, true);
  };
  if (rows.length === 0) return null;
  return (
    <>
      {picked.length === 2 && (
        <p>
          <a class="button" href={link(`/compare/${segment(picked[0]!)}/${segment(picked[1]!)}`)}>
            Compare the two that are marked
          </a>
        </p>
      )}
      <table class="executions">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">Mark to compare</span>
            </th>
            <th scope="col">Execution</th>
            <th scope="col">Status</th>
            <th scope="col">Progress</th>
            <th scope="col">Service</th>
            <th scope="col">Customer</th>
            <th scope="col">Who</th>
            <th scope="col">Created</th>
            <th scope="col" class="number">
              Duration
            </th>
            <th scope="col" class="number">
              Cost
            </th>
            <th scope="col" class="number">
              Tokens
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.$id} data-row>
              <td>
                <input
                  type="checkbox"
                  checked={picked.includes(row.$id)}
                  onChange={() => pick(row.$id)}
                  aria-label={`Mark ${row.$id} to compare`}
                />
              </td>
              <th scope="row">
                <a href={address(row.$id)}>{row.$id}</a>
              </th>
              <td data-label="Status">
                <StatusMark status={row.status} stalled={row.stalled} />
                {row.error && <code class="code">{row.error.code}</code>}
              </td>
              <td data-label="Progress">
                <Progress value={row.progress} label={`Progress of ${row.$id}`} />
              </td>
              <td data-label="Service">{row.service}</td>
              <td data-label="Customer">{row.customer}</td>
              <td data-label="Who">
                <Who assignee={row.assignee} />
              </td>
              <td data-label="Created">
                <When at={row.metadata.createdAt} />
              </td>
              <td data-label="Duration" class="number">
                {duration(row.metrics.duration)}
              </td>
              <td data-label="Cost" class="number">
                {cost(row.metrics.cost, row.metrics.currency)}
              </td>
              <td data-label="Tokens" class="number">
                {count(row.metrics.tokensUsed)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function address(id: string): string {
  return link(`/executions/${segment(id)}`);
}
